"""One conversation: the microphone goes to the server, the server's audio to the player, and an interruption
stops it at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from voiceagent_client import wire
from voiceagent_client.audio_io import AudioDevice
from voiceagent_client.connection import Dropped, RealtimeConnection
from voiceagent_client.errors import ConnectError
from voiceagent_client.happenings import (
    Disconnected,
    Happening,
    Interrupted,
    ResponseDone,
    ResponsePlayed,
    ResponseStarted,
    SessionError,
    SessionStarted,
    TurnTimings,
    UserSpeechStarted,
    UserSpeechStopped,
)
from voiceagent_client.jobs import together
from voiceagent_client.measure import ResponseMeter
from voiceagent_client.playback import Cut, Player
from voiceagent_client.transcript import Line, Transcript
from voiceagent_client.wire import ServerEvent

REPLAYED_LINES = 200
"""The last turns that a new session is told of."""


class Conversation:
    """Joins an open connection, an open device and the player that the device plays from; `run` holds the conversation.

    `on_happening` is called on the loop for everything worth knowing and must return at once. `history` is what was
    said before; like all that is said later it is told to every session the server opens, so that a conversation
    outlives its connections.
    """

    def __init__(
        self,
        connection: RealtimeConnection,
        device: AudioDevice,
        player: Player,
        on_happening: Callable[[Happening], None] = lambda happening: None,
        *,
        history: Sequence[Line] = (),
    ) -> None:
        self._connection = connection
        self._device = device
        self._player = player
        self._tell = on_happening
        self._transcript = Transcript(history)
        self._interruptible = True
        self._meter = ResponseMeter()
        self._active: str | None = None  # the response the server is at
        self._unwanted: str | None = None  # an interrupted one: what still comes of it is dropped
        self._playing_out: dict[str, str] = {}  # responses all here but not all played, with their status

    @property
    def transcript(self) -> tuple[Line, ...]:
        """What both have said so far, by turns."""
        return self._transcript.lines

    async def run(self, script: Awaitable[None] | None = None) -> None:
        """Holds the conversation until `script` ends, or the server ends it, or for ever. Cancel it to leave.

        Raises what the script raises; ConnectError and RefusedError when the connection is lost for good, or
        ended by the server before the script was; AudioError when the device fails.
        """
        jobs = [job for job in (self._listen(), self._speak(), script) if job is not None]
        results = await together(*jobs)
        if script is not None and isinstance(results[-1], asyncio.CancelledError):
            raise ConnectError("the server ended the session too early")

    async def interrupt(self) -> None:
        """Stops the agent from this side, as a button does: playback ends at once, the server is told to stop."""
        active = self._active
        await self._flush()
        if active is not None:
            await self._connection.send(wire.response_cancel())

    async def send_text(self, text: str) -> bool:
        """A typed turn, to be answered; False when there is no connection now."""
        await self.interrupt()
        return await self._connection.send(wire.user_text(text)) and await self._connection.send(wire.response_create())

    async def start_turn(self) -> None:
        """By hand, for sessions without turn detection: the agent stops, and the user's turn begins."""
        await self.interrupt()
        await self._connection.send(wire.clear())

    async def end_turn(self) -> bool:
        """The user's turn is over and wants an answer; False when there is no connection now."""
        return await self._connection.send(wire.commit()) and await self._connection.send(wire.response_create())

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frame = await self._device.read()
            sent = len(frame.pcm) > 0 and await self._connection.send(wire.append(frame.pcm))
            if sent and frame.speech_ends:
                self._meter.speech_ended(loop.time())
            if self._playing_out and self._player.idle:
                played, self._playing_out = self._playing_out, {}
                for response_id, status in played.items():
                    self._tell(ResponsePlayed(response_id, status))

    async def _listen(self) -> None:
        async for event in self._connection:
            match event:
                case Dropped(reason, attempt, retry_in):
                    self._leave_session()
                    self._tell(Disconnected(reason, attempt, retry_in))
                case ServerEvent():
                    await self._handle(event)

    async def _handle(self, event: ServerEvent) -> None:
        match event.type:
            case "session.created":
                await self._replay()
                self._take_session(event)
                self._tell(SessionStarted(event.text("session", "id")))
            case "session.updated":
                self._take_session(event)
            case "input_audio_buffer.speech_started":
                if self._interruptible:
                    await self._flush()
                self._tell(UserSpeechStarted(event.text("item_id"), event.integer("audio_start_ms") or 0))
            case "input_audio_buffer.speech_stopped":
                self._tell(UserSpeechStopped(event.text("item_id"), event.integer("audio_end_ms") or 0))
            case "response.created":
                self._active = event.text("response", "id")
                self._meter.created(self._active)
                self._tell(ResponseStarted(self._active))
            case "response.output_audio.delta":
                self._audio(event)
            case "response.output_audio.done":
                self._player.end()
            case "response.done":
                await self._response_done(event)
            case "voiceagent.timeline":
                parts, total = event.integers("parts"), event.integer("response_ms")
                self._tell(TurnTimings(event.text("item_id"), event.text("response_id"), parts, total))
            case "error" | "conversation.item.input_audio_transcription.failed":
                self._tell(SessionError(event.text("error", "code"), event.text("error", "message")))
            case _:
                words = self._transcript.take(event)
                if words is not None:
                    self._tell(words)

    def _audio(self, event: ServerEvent) -> None:
        pcm, response_id = event.audio("delta"), event.text("response_id")
        if pcm is None or (response_id and response_id == self._unwanted):
            return
        self._player.add(event.text("item_id"), event.integer("content_index") or 0, pcm)
        measured = self._meter.audio(response_id, pcm, asyncio.get_running_loop().time())
        if measured is not None:
            self._tell(measured)

    async def _response_done(self, event: ServerEvent) -> None:
        response_id, status = event.text("response", "id"), event.text("response", "status")
        self._active = None
        measured = self._meter.done(response_id)
        if measured is not None:
            self._tell(measured)
        if status == "cancelled":
            await self._flush()
        elif status != "completed" or not _only_tools(event):
            self._player.end()
            self._playing_out[response_id] = status
        self._tell(ResponseDone(response_id, status, event.text("response", "status_details", "error", "code") or None))

    async def _flush(self) -> None:
        self._unwanted = self._active
        for cut in self._cut():
            await self._connection.send(wire.truncate(cut.item_id, cut.content_index, cut.played_ms))

    def _cut(self) -> list[Cut]:
        cuts = self._player.flush()
        self._playing_out.clear()
        for cut in cuts:
            self._transcript.cut(cut.item_id, cut.played_ms, cut.arrived_ms)
            self._tell(Interrupted(cut.item_id, cut.played_ms))
        return cuts

    def _take_session(self, event: ServerEvent) -> None:
        """Whether a voice stops the agent is the session's choice; where it says nothing, it does."""
        self._interruptible = (
            event.value("session", "audio", "input", "turn_detection", "interrupt_response") is not False
        )

    async def _replay(self) -> None:
        for line in self._transcript.lines[-REPLAYED_LINES:]:
            if line.role == "user" and line.final:
                await self._connection.send(wire.user_text(line.text, line.item_id))
            elif line.role == "agent" and line.heard:
                await self._connection.send(wire.agent_text(line.heard, line.item_id))

    def _leave_session(self) -> None:
        """The next one knows none of these responses; of what was being said it is told the part that was heard."""
        self._cut()
        self._meter.reset()
        self._active = self._unwanted = None


def _only_tools(response: ServerEvent) -> bool:
    """Whether another response is to follow: tools of ours are in its output, those of the server's are not."""
    return all(item.get("type") == "function_call" for item in response.objects("response", "output"))
