"""The vendors' HTTP interfaces on a real socket: they know an account and a call, and keep what they were asked."""

import asyncio
import base64
import json
import re
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

BASIC = "Basic " + base64.b64encode(b"AC1:s3cret-token").decode()
BEARER = "Bearer s3cret-token"

CALLS = (
    (re.compile(r"/(api/laml/)?2010-04-01/Accounts/AC1/Calls/CA1\.json"), "POST", BASIC, 200),
    (re.compile(r"/v2/calls/v3%3A1/actions/(hangup|transfer|send_dtmf)"), "POST", BEARER, 200),
    (re.compile(r"/v1/Account/AC1/Call/12345678-1234/"), "DELETE", BASIC, 204),
    (re.compile(r"/v1/Account/AC1/Call/12345678-1234/"), "POST", BASIC, 202),
    (re.compile(r"/v2/accounts/AC1/legs/CA1/actions/hangup"), "POST", BASIC, 200),
    (re.compile(r"/v1/Accounts/AC1/Calls/CA1"), "POST", BEARER, 202),
)
"""What exists: path, method, the login that opens it, the answer. Twilio and SignalWire, Telnyx, Plivo, Exotel,
jambonz."""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    body: dict[str, object]


class VendorRest:
    """`delay`: seconds before an answer; `status`: the answer to everything, if any."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.delay = 0.0
        self.status: int | None = None
        self._changed = asyncio.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT", "DELETE"])])
        config = uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off", ws="none")
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def until_asked(self, count: int = 1) -> Asked:
        async with asyncio.timeout(20):
            while len(self.asked) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.asked[count - 1]

    async def __aenter__(self) -> Self:
        await self._server.startup(sockets=[self._socket])
        return self

    async def __aexit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        for listener in self._server.servers:
            listener.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()
        tasks = list(self._server.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()

    async def _answer(self, request: Request) -> Response:
        await asyncio.sleep(self.delay)
        path = request.scope["raw_path"].decode()
        body = await request.body()
        is_json = request.headers.get("content-type", "").startswith("application/json")
        fields: dict[str, object] = json.loads(body) if is_json else dict(parse_qsl(body.decode()))
        self.asked.append(Asked(request.method, path, fields))
        self._changed.set()
        if self.status is not None:
            return JSONResponse({"message": "no", "token": "s3cret-token"}, self.status)
        known = [call for call in CALLS if call[0].fullmatch(path) and call[1] == request.method]
        if not known:
            return JSONResponse({"code": 20404, "message": "not found"}, 404)
        if request.headers.get("authorization") != known[0][2]:
            return JSONResponse({"code": 20003, "message": "authenticate"}, 401)
        return Response(status_code=known[0][3])
