"""The operator's pages: `/admin`, only where `[admin] key` is set. What they show is in `board`,
who may look in `auth`."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from voiceagent.admin.auth import AdminAuth
from voiceagent.admin.board import Board
from voiceagent.admin.feed import MOST_STREAMS, EventStream
from voiceagent.admin.live_session import LiveSession
from voiceagent.admin.settings import AdminSection
from voiceagent.channels.channel import Channel, Denied, answering
from voiceagent.channels.web.routes import SECURITY, TYPES, WEB, File
from voiceagent.recordings.store import RecordingStore
from voiceagent.report.page import frame, render

log = logging.getLogger(__name__)

PARTS = (
    *("admin.css", "admin.js", "admin-login.js", "admin-words.js"),
    *("draw.js", "turns.js", "turns.css", "words.js", "icon.svg"),
)
"""Files of the page; none holds anything secret."""
PAGE = {
    **SECURITY,
    "content-security-policy": SECURITY["content-security-policy"].replace("form-action 'none'", "form-action 'self'"),
}
"""The login is a form."""
PRIVATE = {**SECURITY, "cache-control": "no-store"}
WRONG_KEY = b'data-t="wrong_key" hidden'
"""What the form says only when it was so."""
MOST_LISTED = 200
"""Recordings that are listed: the latest."""
MOST_FORM = 4096
"""Bytes of the login form."""
NO_TALK = Denied(404, "talk_not_found", "there is no such talk in progress")
NO_RECORDING = Denied(404, "recording_not_found", "there is no such recording")
TOO_MANY = Denied(503, "too_many_viewers", "too many look already", retry_after=10)

Handler = Callable[[Request], Awaitable[Response]]


class AdminRoutes:
    def __init__(self, gate: AdminAuth, board: Board, store: RecordingStore | None) -> None:
        self._gate = gate
        self._board = board
        self._store = store
        self._streams = 0
        self._reading = asyncio.Semaphore(1)
        """Recordings are long: one is read at a time."""
        self._files = {name: File.of(f".{name.rpartition('.')[2]}", (WEB / name).read_bytes()) for name in PARTS}
        self._dashboard = (WEB / "admin.html").read_bytes()
        self._form = (WEB / "admin-login.html").read_bytes()

    @property
    def channel(self) -> Channel:
        look, change = self._look, self._change
        return Channel(
            routes=[
                Route("/admin", answering(self._page)),
                Route("/admin/login", answering(self._login), methods=["GET", "POST"]),
                Route("/admin/logout", change(self._logout), methods=["POST"]),
                Route("/admin/web/{name}", answering(self._part)),
                Route("/admin/events", look(self._events)),
                Route("/admin/talks", look(self._recordings)),
                Route("/admin/talks/{session}", look(self._report)),
                Route("/admin/talks/{session}/sound", look(self._sound)),
                Route("/admin/talks/{session}/events", look(self._watch)),
                Route("/admin/talks/{session}/end", change(self._end), methods=["POST"]),
            ],
            run=self._board.feed.run,
        )

    def _look(self, handler: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            self._gate.check(request)
            return await handler(request)

        return answering(checked)

    def _change(self, handler: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            self._gate.check_change(request)
            return await handler(request)

        return answering(checked)

    # -- the page ---------------------------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        try:
            self._gate.check(request)
        except Denied:
            return RedirectResponse(f"{place(request)}/login", 303, PRIVATE)
        return html(self._dashboard)

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return html(self._form)
        if not self._gate.opens(await form_key(request)):
            return html(self._form.replace(WRONG_KEY, WRONG_KEY.replace(b" hidden", b"")), 401)
        response = RedirectResponse(place(request), 303, PRIVATE)
        self._gate.let_in(request, response)
        return response

    async def _logout(self, request: Request) -> Response:
        response = Response(status_code=204, headers=PRIVATE)
        self._gate.let_out(request, response)
        return response

    async def _part(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        return file.answer(request) if file else Response("not found", 404, SECURITY, "text/plain")

    # -- talks in progress ------------------------------------------------------------------------------------------

    async def _events(self, request: Request) -> Response:
        return self._stream(self._board.feed.lines(), lambda: None)

    async def _watch(self, request: Request) -> Response:
        watcher = self._talk(request).watch()
        if watcher is None:
            raise TOO_MANY
        return self._stream(watcher.lines(), watcher.leave)

    def _stream(self, lines: AsyncGenerator[str, None], leave: Callable[[], None]) -> Response:
        if self._streams >= MOST_STREAMS:
            leave()
            raise TOO_MANY
        self._streams += 1

        def over() -> None:
            self._streams -= 1
            leave()

        return EventStream(lines, over)

    async def _end(self, request: Request) -> Response:
        talk = self._talk(request)
        log.info("session %s: ended by an operator", talk.session)
        talk.stop()
        return Response(status_code=204, headers=PRIVATE)

    def _talk(self, request: Request) -> LiveSession:
        talk = self._board.live.get(request.path_params["session"])
        if talk is None:
            raise NO_TALK
        return talk

    # -- recordings -------------------------------------------------------------------------------------------------

    async def _recordings(self, request: Request) -> Response:
        """The latest; `age` in seconds."""
        store = self._store
        if store is None:
            return JSONResponse({"recorded": False, "talks": []}, headers=PRIVATE)
        now = time.time()
        async with self._reading:
            recorded = (await asyncio.to_thread(store.sessions))[:MOST_LISTED]
        talks = [
            {
                "id": one.session,
                "age": int(now - one.at),
                "size": one.size,
                "sound": one.sound,
                "finished": one.finished,
            }
            for one in recorded
        ]
        return JSONResponse({"recorded": True, "talks": talks}, headers=PRIVATE)

    async def _report(self, request: Request) -> Response:
        store, session = self._store, request.path_params["session"]
        if store is None:
            raise NO_RECORDING
        async with self._reading:
            page = await asyncio.to_thread(render, store, session)
        if page is None:
            raise NO_RECORDING
        headers = {
            **PRIVATE,
            "content-security-policy": f"{frame().policy}; frame-ancestors 'none'",
            "content-type": TYPES[".html"],
        }
        return Response(page, headers=headers)

    async def _sound(self, request: Request) -> Response:
        session = request.path_params["session"]
        path = self._store.sound(session) if self._store is not None else None
        if path is None or path.suffix == ".part":  # its length would not be the one that was promised
            raise NO_RECORDING
        return FileResponse(path, media_type="audio/wav", filename=f"{session}.wav", headers=PRIVATE)


def place(request: Request) -> str:
    """Where this page is, as the browser reaches it."""
    return f"{request.scope.get('root_path', '')}/admin"


def html(page: bytes, status: int = 200) -> Response:
    return Response(page, status, {**PAGE, "cache-control": "no-store", "content-type": TYPES[".html"]})


async def form_key(request: Request) -> str:
    """What was typed into the login form; "" where it is none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM:
            return ""
    try:
        return parse_qs(body.decode("ascii"), max_num_fields=4).get("key", [""])[0]
    except ValueError:
        return ""


def channel(section: AdminSection, board: Board | None, recordings: RecordingStore | None) -> Channel:
    """The operator's pages; none without a key. `recordings` is None where sessions are not recorded."""
    if section.key is None or board is None:
        return Channel()
    return AdminRoutes(AdminAuth(section.key), board, recordings).channel
