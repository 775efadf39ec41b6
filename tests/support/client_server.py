"""A scripted Realtime server on loopback for the client's tests: true events, ids and order; what it says is
the test's."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Self

import numpy as np
from voiceagent_client.pcm import FRAME, RATE, Pcm
from voiceagent_client.wire import Json
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

DEADLINE = 10.0
LOUD = 1000
QUIET_FRAMES = 10
"""200 ms below `LOUD` end a turn of the user's."""


def tone(ms: int, amplitude: int = 8000) -> Pcm:
    """A 440 Hz tone, loud from its first sample on."""
    samples = np.arange(ms * RATE // 1000)
    return (amplitude * np.cos(2 * np.pi * 440 * samples / RATE)).astype(np.int16)


class Call:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.heard: list[Pcm] = []
        """The user's audio, one entry an append."""
        self.received: list[dict[str, Json]] = []
        """All other events of the client, in order."""
        self._ids = 0

    def new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}_{self._ids:04d}"

    async def send(self, kind: str, **fields: Json) -> None:
        await self.socket.send(json.dumps({"type": kind, "event_id": self.new_id("event"), **fields}))

    async def raw(self, message: str | bytes) -> None:
        await self.socket.send(message)

    async def receive(self) -> dict[str, Json]:
        """The client's next event; audio is also kept in `heard`, everything else in `received`."""
        async with asyncio.timeout(DEADLINE):
            event: dict[str, Json] = json.loads(await self.socket.recv())
        if event["type"] == "input_audio_buffer.append":
            audio = event["audio"]
            assert isinstance(audio, str)
            self.heard.append(np.frombuffer(base64.b64decode(audio, validate=True), dtype="<i2"))
        else:
            self.received.append(event)
        return event

    async def expect(self, kind: str) -> dict[str, Json]:
        """The client's next event of this type; audio before it is heard."""
        while True:
            event = await self.receive()
            if event["type"] == kind:
                return event

    async def open(self) -> dict[str, Json]:
        """Greets and answers the client's configuration, which is returned."""
        await self.send("session.created", session={"type": "realtime", "object": "realtime.session", "id": "sess_1"})
        session = (await self.expect("session.update"))["session"]
        assert isinstance(session, dict)
        await self.send("session.updated", session=session)
        return session

    async def drop(self) -> None:
        """Breaks the connection without a word, as a lost network does."""
        self.socket.transport.abort()
        await self.socket.wait_closed()

    async def stay(self) -> None:
        """Listens until the client leaves."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed:
            return

    async def speech_starts(self) -> str:
        """Waits for a loud frame, then says so; returns the id of the user's item to come."""
        while (await self.receive())["type"] != "input_audio_buffer.append" or not np.any(
            np.abs(self.heard[-1]) > LOUD
        ):
            pass
        item_id = self.new_id("item")
        await self.send("input_audio_buffer.speech_started", audio_start_ms=len(self.heard) * 20, item_id=item_id)
        return item_id

    async def speech_stops(self, item_id: str, text: str) -> None:
        """Waits for 200 ms of quiet, then commits the user's turn."""
        quiet = 0
        while quiet < QUIET_FRAMES:
            if (await self.receive())["type"] == "input_audio_buffer.append":
                quiet = 0 if np.any(np.abs(self.heard[-1]) > LOUD) else quiet + 1
        await self.send("input_audio_buffer.speech_stopped", audio_end_ms=len(self.heard) * 20, item_id=item_id)
        await self.send("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        item: dict[str, Json] = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio"}],
        }
        await self.send("conversation.item.added", previous_item_id=None, item=item)
        await self.send("conversation.item.done", previous_item_id=None, item=item)
        ids: dict[str, Json] = {"item_id": item_id, "content_index": 0}
        await self.send("conversation.item.input_audio_transcription.delta", **ids, delta=text[:3])
        usage: dict[str, Json] = {"type": "duration", "seconds": 1.0}
        await self.send("conversation.item.input_audio_transcription.completed", **ids, transcript=text, usage=usage)

    async def user_turn(self, text: str) -> None:
        await self.speech_stops(await self.speech_starts(), text)


class Reply:
    """One spoken response of the server's."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.response_id = call.new_id("resp")
        self.item_id = call.new_id("item")
        self._text = ""
        self._ids: dict[str, Json] = {
            "response_id": self.response_id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }

    def _item(self, status: str) -> dict[str, Json]:
        content: list[Json] = [] if status == "in_progress" else [{"type": "output_audio", "transcript": self._text}]
        return {
            "id": self.item_id,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _response(self, status: str, details: dict[str, Json] | None = None) -> dict[str, Json]:
        response: dict[str, Json] = {"id": self.response_id, "object": "realtime.response", "status": status}
        if details is not None:
            response["status_details"] = details
        if status != "in_progress":
            response["output"] = [self._item("completed" if status == "completed" else "incomplete")]
        return response

    async def start(self) -> Self:
        send = self._call.send
        await send("response.created", response=self._response("in_progress"))
        item = self._item("in_progress")
        await send("response.output_item.added", response_id=self.response_id, output_index=0, item=item)
        await send("conversation.item.added", previous_item_id=None, item=item)
        await send("response.content_part.added", **self._ids, part={"type": "audio", "transcript": ""})
        return self

    async def say(self, text: str, pcm: Pcm, chunk: int = FRAME * 5) -> None:
        """Words and their audio, in chunks, as fast as they go."""
        if text:
            self._text += text
            await self._call.send("response.output_audio_transcript.delta", **self._ids, delta=text)
        for start in range(0, len(pcm), chunk):
            data = base64.b64encode(pcm[start : start + chunk].astype("<i2").tobytes()).decode()
            await self._call.send("response.output_audio.delta", **self._ids, delta=data)

    async def end(self, status: str = "completed", details: dict[str, Json] | None = None) -> None:
        send = self._call.send
        item = self._item("completed" if status == "completed" else "incomplete")
        await send("response.output_audio.done", **self._ids)
        await send("response.output_audio_transcript.done", **self._ids, transcript=self._text)
        await send("response.content_part.done", **self._ids, part={"type": "audio", "transcript": self._text})
        await send("conversation.item.done", previous_item_id=None, item=item)
        await send("response.output_item.done", response_id=self.response_id, output_index=0, item=item)
        await send("response.done", response=self._response(status, details))

    async def cancel(self) -> None:
        await self.end("cancelled", {"type": "cancelled", "reason": "turn_detected"})


CallScript = Callable[[Call], Awaitable[None]]


class RealtimeServer:
    """An async context manager. The first connection is held by the first script, and so on; the last one stays
    for all that follow. `refuse` are the
    HTTP statuses that the first requests get instead, 0 for those let in."""

    def __init__(self, *scripts: CallScript, refuse: Sequence[int] = ()) -> None:
        self.requests: list[Request] = []
        self.calls: list[Call] = []
        self.failures: list[Exception] = []
        self._scripts = scripts
        self._refuse = list(refuse)
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(self._hold, "127.0.0.1", 0, process_request=self._admit, close_timeout=1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        if error is None and self.failures:
            raise self.failures[0]

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"ws://{host}:{port}/v1/realtime"

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        status = self._refuse.pop(0) if self._refuse else 0
        return socket.respond(HTTPStatus(status), '{"error":{"message":"no"}}\n') if status else None

    async def _hold(self, socket: ServerConnection) -> None:
        call = Call(socket)
        self.calls.append(call)
        try:
            await self._scripts[min(len(self.calls), len(self._scripts)) - 1](call)
        except ConnectionClosed:
            return
        except Exception as failure:  # the test must see it
            self.failures.append(failure)
            raise
