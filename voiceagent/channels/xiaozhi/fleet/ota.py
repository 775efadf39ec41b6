"""What a xiaozhi device asks by HTTP before it can talk: where to connect and with which token, whether it is
activated, which firmware it should run. See `docs/guides/speaker/xiaozhi.md`.

A device that is not told a WebSocket goes to MQTT; one that is told too much crashes. So each answer holds exactly what
is known to be safe.
"""

import asyncio
import re
import time
from contextlib import aclosing
from datetime import datetime
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from voiceagent.channels.channel import ChannelHost, Denied, answering
from voiceagent.channels.xiaozhi.fleet.access import BootAnswer, Fleet, RequestBrake, RequestPace
from voiceagent.channels.xiaozhi.fleet.boot import Boot, ids, read_boot, read_proof
from voiceagent.channels.xiaozhi.fleet.firmware import chosen
from voiceagent.channels.xiaozhi.fleet.tokens import Bearer
from voiceagent.channels.xiaozhi.settings import XiaozhiSection, reachable_host

TALK_PATH = "/xiaozhi/v1/"
OTA_PATHS = ("/xiaozhi/ota", "/xiaozhi/ota/")
"""Neither may redirect to the other: to a device anything but 200 is a failure."""
ACTIVATE_PATHS = ("/xiaozhi/ota/activate", "/xiaozhi/ota/activate/")
FIRMWARE_PATH = "/xiaozhi/firmware/"
MAX_BODY = 64 * 1024
"""Bytes; a device's has some 2,000."""
BODY_SECONDS = 10.0
CODE_TIMEOUT_MS = 30_000
"""Told to devices, which do not look at it."""
_CHIP = re.compile(r"[A-Za-z0-9-]{1,24}")


class OtaRoutes:
    def __init__(self, host: ChannelHost, section: XiaozhiSection, fleet: Fleet) -> None:
        self._host = host
        self._section = section
        self._fleet = fleet
        self._files = {image.file.name: image.file for image in self._section.firmware}
        self._pace_of_device = RequestPace(burst=10, rate=1.0)
        self._pace_of_address = RequestPace(burst=200, rate=50.0)
        self._brake = RequestBrake()

    def routes(self) -> list[BaseRoute]:
        return [
            *(Route(path, answering(self._boot), methods=["POST"]) for path in OTA_PATHS),
            *(Route(path, self._show, methods=["GET"]) for path in OTA_PATHS),
            *(Route(path, answering(self._activate), methods=["POST"]) for path in ACTIVATE_PATHS),
            Route(FIRMWARE_PATH + "{name}", self._firmware, methods=["GET"]),
        ]

    async def _boot(self, request: Request) -> Response:
        boot = read_boot(request.headers, request.query_params, await read(request))
        await self._slow_down(request, boot.device_id)
        await self._fleet.ready()
        entry = await self._fleet.boot(boot)
        base = http_base(self._host, self._section, request)
        answer: dict[str, object] = {
            "websocket": self._websocket(boot, entry, base),
            "server_time": self._time(),
        }
        if boot.version:
            answer["firmware"] = self._offer(boot, base)
        if entry.challenge:
            answer["activation"] = self._activation(boot, entry)
        return JSONResponse(answer)

    async def _activate(self, request: Request) -> Response:
        device_id, client_id = ids(request.headers, request.query_params)
        proof = read_proof(await read(request))
        await self._slow_down(request, device_id)
        await self._fleet.ready()
        done = await self._fleet.activate(Bearer(device_id, client_id), proof)
        return JSONResponse({"message": "activated" if done else "waiting"}, 200 if done else 202)

    async def _show(self, request: Request) -> Response:
        """For people who look with a browser whether the address is right."""
        url = talk_url(http_base(self._host, self._section, request))
        return PlainTextResponse(
            f"This is the OTA address of a voiceagent server. Devices are told to connect to {url}\n"
        )

    async def _firmware(self, request: Request) -> Response:
        """Only files that the configuration names."""
        path = self._files.get(request.path_params["name"])
        if path is None or not await run_in_threadpool(path.is_file):
            return PlainTextResponse("not found", 404)
        return FileResponse(path, media_type="application/octet-stream")

    async def _slow_down(self, request: Request, device_id: str) -> None:
        """Raises Denied 429 only when very many ask in a loop at a time."""
        address = request.client.host if request.client else ""
        delays = [self._pace_of_address.delay(address)]
        if device_id:
            delays.append(self._pace_of_device.delay(device_id))
        if not await self._brake.hold(max(delays)):
            raise Denied(429, "too_many_requests", "too many devices ask too often", retry_after=5)

    # -- the answer -------------------------------------------------------------------------------------------------

    def _websocket(self, boot: Boot, entry: BootAnswer, base: str) -> dict[str, object]:
        """All three keys each time, since a device keeps the old value of one that is missing; and none besides, since
        it would keep that too, and crash on a long name."""
        node = self._fleet.nodes.choose(boot.device_id)
        url = talk_url(node or base, boot.chip)
        return {"url": url, "token": entry.token, "version": self._section.framing}

    def _time(self) -> dict[str, object]:
        """A device adds the offset to the time and takes that for its own."""
        zone = ZoneInfo(self._section.timezone) if self._section.timezone else None
        offset = datetime.now(zone).astimezone(zone).utcoffset()
        minutes = round(offset.total_seconds() / 60) if offset is not None else 0
        return {"timestamp": round(time.time() * 1000), "timezone_offset": minutes}

    def _offer(self, boot: Boot, base: str) -> dict[str, object]:
        """Without a new one its own version, and no address."""
        image = chosen(self._section.firmware, boot.device_id, boot.board, boot.version)
        if image is None:
            return {"version": boot.version, "url": ""}
        url = image.url or f"{base}{FIRMWARE_PATH}{image.file.name}"
        return {"version": image.version, "url": url, **({"force": 1} if image.force else {})}

    def _activation(self, boot: Boot, entry: BootAnswer) -> dict[str, object]:
        told: dict[str, object] = {"challenge": entry.challenge, "timeout_ms": CODE_TIMEOUT_MS}
        if entry.code:
            told |= {"code": entry.code, "message": self._message(boot).replace("{code}", entry.code)}
        return told

    def _message(self, boot: Boot) -> str:
        if self._section.activation_message:
            return self._section.activation_message
        return "激活码 {code}" if boot.language.lower().startswith(("zh", "yue")) else "Activation code {code}"


def talk_url(base: str, chip: str = "") -> str:
    """The WebSocket at an address by HTTP."""
    query = f"?chip={chip}" if _CHIP.fullmatch(chip) else ""
    return f"ws{base.removeprefix('http')}{TALK_PATH}{query}"


def http_base(host: ChannelHost, section: XiaozhiSection, connection: HTTPConnection) -> str:
    """This server as the device reaches it, without a slash at its end. On a WebSocket the firmware's Host header
    leaves the port out."""
    if section.public_url:
        return section.public_url
    address = connection.scope.get("server") or ("127.0.0.1", host.port)
    scheme = "https" if connection.url.scheme in ("https", "wss") else "http"
    name = connection.headers.get("host", "")
    if not reachable_host(name):  # an IPv6 address, above all
        name = f"{address[0]}:{address[1]}" if reachable_host(str(address[0])) else f"localhost:{address[1]}"
    if connection.scope["type"] == "websocket" and ":" not in name:
        name = f"{name}:{address[1]}"
    return f"{scheme}://{name}{connection.scope.get('root_path', '')}"


async def read(request: Request) -> bytes:
    """The body. Raises Denied for one that is too long or too slow."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS), aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_BODY:
                    raise Denied(413, "too_large", "the request is too large")
    except (ClientDisconnect, TimeoutError):
        raise Denied(408, "too_slow", "the request did not come in time") from None
    return bytes(body)
