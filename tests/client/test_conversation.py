"""The client in conversation: recordings in and out over real sockets, interruptions, and all that goes wrong."""

import asyncio
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from voiceagent_client.audio_io import Frame, WavDevice
from voiceagent_client.connection import Backoff, RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.errors import AudioError, ConnectError, NoAnswer
from voiceagent_client.happenings import (
    AgentText,
    Disconnected,
    Happening,
    Interrupted,
    ResponseDone,
    ResponseMeasured,
    ResponsePlayed,
    ResponseStarted,
    SessionError,
    SessionStarted,
    TurnTimings,
    UserSpeechStarted,
    UserSpeechStopped,
    UserText,
)
from voiceagent_client.jobs import together
from voiceagent_client.microphone import Microphone
from voiceagent_client.pcm import FRAME, RATE, Pcm, silence
from voiceagent_client.playback import Player
from voiceagent_client.push import PushToTalk
from voiceagent_client.script import Script
from voiceagent_client.transcript import Line
from voiceagent_client.wav import recording
from voiceagent_client.wire import Json, ServerEvent, SessionConfig

from tests.support.client_server import Call, CallScript, RealtimeServer, Reply, tone

HELLO: Pcm = np.concatenate((silence(FRAME * 3 + 100), tone(300), silence(FRAME * 5)))
ANSWER = tone(400, amplitude=5000)
LONG_ANSWER = tone(20_000, amplitude=6000)


@dataclass
class Talk:
    """One conversation of a test and all that happened in it."""

    server: RealtimeServer
    device: WavDevice
    player: Player
    conversation: Conversation
    out: Path
    happenings: list[Happening]
    listeners: list[Callable[[Happening], None]]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 (what is waited for is counted in another thread of time: samples)
                await asyncio.sleep(0.005)

    async def playing(self, ms: int) -> str:
        """Waits until so much of an answer is played; returns its item's id."""
        await self.happened(AgentText)
        item_id = agent_item(self)
        await self.until(lambda: self.player.played_ms(item_id) >= ms)
        return item_id

    async def happened(self, kind: type[Happening]) -> None:
        await self.until(lambda: any(isinstance(happening, kind) for happening in self.happenings))

    def recorded(self) -> tuple[Pcm, Pcm]:
        """The recording of a talk that is over: user, agent."""
        with wave.open(str(self.out)) as file:
            both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
        return both[:, 0], both[:, 1]


@asynccontextmanager
async def talking(out: Path, *scripts: CallScript, session: SessionConfig | None = None) -> AsyncIterator[Talk]:
    backoff = Backoff(first=0.01, longest=0.05, attempts=3)
    with recording(out) as recorder:
        player = Player()
        device = WavDevice(player, recorder)
        happenings: list[Happening] = []
        listeners: list[Callable[[Happening], None]] = [happenings.append]

        def tell(happening: Happening) -> None:
            for listener in listeners:
                listener(happening)

        async with (
            RealtimeServer(*scripts) as server,
            RealtimeConnection(server.url, session=session, backoff=backoff) as connection,
        ):
            conversation = Conversation(connection, device, player, tell)
            yield Talk(server, device, player, conversation, out, happenings, listeners)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.wav"


def where(part: Pcm, whole: Pcm) -> int:
    """Index at which `part` is found, sample for sample, in `whole`."""
    for start in np.flatnonzero(whole == part[0]):
        if np.array_equal(whole[start : start + len(part)], part):
            return int(start)
    raise AssertionError("not found")


def user_item(talk: Talk) -> str:
    return next(happening.item_id for happening in talk.happenings if isinstance(happening, UserText))


def agent_item(talk: Talk) -> str:
    return next(happening.item_id for happening in talk.happenings if isinstance(happening, AgentText))


def response_of(talk: Talk) -> str:
    return next(happening.response_id for happening in talk.happenings if isinstance(happening, ResponseStarted))


def heard_ms(agent: Pcm) -> int:
    """How much of the long answer is in a recording that holds nothing else: from its start, without a gap, to
    where it was stopped."""
    found = np.flatnonzero(agent)
    heard = agent[found[0] : found[-1] + 1]
    assert np.array_equal(heard, LONG_ANSWER[: len(heard)])
    assert len(heard) % FRAME == 0, "played by whole frames until it was flushed"
    return len(heard) * 1000 // RATE


def truncations(call: Call) -> list[dict[str, Json]]:
    return [event for event in call.received if event["type"] == "conversation.item.truncate"]


async def test_a_recording_is_answered(out: Path) -> None:
    async def answer(call: Call) -> None:
        await call.open()
        await call.user_turn("你好")
        reply = await Reply(call).start()
        await reply.say("Hello ", ANSWER[:5000])
        await reply.say("there.", ANSWER[5000:])
        await reply.end()
        await call.stay()

    async with talking(out, answer) as talk:
        script = Script(talk.device, [HELLO])
        talk.listeners.append(script.notice)
        await talk.conversation.run(script.run())
    user, agent = talk.recorded()
    said, answered = where(tone(300), user), where(ANSWER, agent)
    assert said == FRAME * 3 + 100
    assert answered >= said + len(tone(300)) + FRAME * 10, "the server waits for 200 ms of quiet"
    assert np.count_nonzero(agent) == np.count_nonzero(ANSWER)
    heard = np.concatenate(talk.server.calls[0].heard)
    assert np.array_equal(heard[: len(user)], user[: len(heard)])
    assert all(len(frame) == FRAME for frame in talk.server.calls[0].heard)
    assert talk.conversation.transcript == (
        Line("user", user_item(talk), "你好", True),
        Line("agent", agent_item(talk), "Hello there.", True),
    )
    assert [type(happening) for happening in talk.happenings] == [
        SessionStarted,
        UserSpeechStarted,
        UserSpeechStopped,
        UserText,
        UserText,
        ResponseStarted,
        AgentText,
        ResponseMeasured,
        AgentText,
        AgentText,
        ResponseDone,
        ResponsePlayed,
    ]
    measured = next(happening for happening in talk.happenings if isinstance(happening, ResponseMeasured))
    assert measured.response_ms is not None
    assert measured.response_ms >= 0
    assert measured.response_ms == measured.first_sample_ms
    assert measured.leading_silence_ms == 0


async def test_speech_stops_the_agent_at_once_and_the_server_learns_what_was_heard(out: Path) -> None:
    async def interrupted(call: Call) -> None:
        await call.open()
        await call.user_turn("Go on.")
        reply = await Reply(call).start()
        await reply.say("A long story.", LONG_ANSWER)
        await call.speech_starts()
        await reply.say("", tone(1000))  # on its way when the user began
        await reply.cancel()
        await call.expect("conversation.item.truncate")
        await call.stay()

    async with talking(out, interrupted) as talk:

        async def script() -> None:
            await talk.device.say(HELLO)
            await talk.playing(ms=310)
            await talk.device.say(HELLO)
            await talk.happened(ResponseDone)
            await asyncio.sleep(0.2)

        await talk.conversation.run(script())
    _, agent = talk.recorded()
    played_ms = heard_ms(agent)
    assert played_ms >= 310
    item_id = agent_item(talk)
    assert truncations(talk.server.calls[0]) == [
        {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": played_ms}
    ]
    stopped = talk.happenings.index(Interrupted(item_id, played_ms))
    assert isinstance(talk.happenings[stopped + 1], UserSpeechStarted)
    assert ResponseDone(response_of(talk), "cancelled", None) in talk.happenings
    assert not any(isinstance(happening, ResponsePlayed) for happening in talk.happenings)
    line = talk.conversation.transcript[1]
    assert (line.text, line.heard_ms) == ("A long story.", played_ms)


async def test_a_response_the_server_cancels_by_itself_is_flushed_too(out: Path) -> None:
    async def cancel(call: Call) -> None:
        await call.open()
        reply = await Reply(call).start()
        await reply.say("Never mind.", LONG_ANSWER)
        for _ in range(20):
            await call.receive()
        await reply.cancel()
        await call.stay()

    async with talking(out, cancel) as talk:

        async def script() -> None:
            await talk.happened(Interrupted)
            await asyncio.sleep(0.1)

        await talk.conversation.run(script())
    _, agent = talk.recorded()
    assert [event["audio_end_ms"] for event in truncations(talk.server.calls[0])] == [heard_ms(agent)]


async def test_what_was_played_to_its_end_is_not_truncated(out: Path) -> None:
    async def finish(call: Call) -> None:
        await call.open()
        reply = await Reply(call).start()
        await reply.say("Hm.", tone(100))
        await reply.end()
        await call.speech_starts()
        await call.stay()

    async with talking(out, finish) as talk:

        async def script() -> None:
            await talk.happened(ResponsePlayed)
            await talk.device.say(HELLO)
            await talk.happened(UserSpeechStarted)
            await asyncio.sleep(0.1)

        await talk.conversation.run(script())
    assert truncations(talk.server.calls[0]) == []
    assert not any(isinstance(happening, Interrupted) for happening in talk.happenings)


async def test_after_a_drop_the_talk_goes_on_in_a_new_session(out: Path) -> None:
    async def drop(call: Call) -> None:
        await call.open()
        reply = await Reply(call).start()
        await reply.say("I was " * 300, LONG_ANSWER)
        for _ in range(20):
            await call.receive()
        await call.drop()

    async def answer(call: Call) -> None:
        await call.open()
        await call.expect("conversation.item.create")
        await call.user_turn("Hello?")
        reply = await Reply(call).start()
        await reply.say("Here.", ANSWER)
        await reply.end()
        await call.stay()

    async with talking(out, drop, answer, session=SessionConfig("Be brief.")) as talk:
        script = Script(talk.device, [HELLO])
        talk.listeners.append(script.notice)

        async def wait_and_speak() -> None:
            await talk.happened(Disconnected)
            await script.run()

        await talk.conversation.run(wait_and_speak())
    _, agent = talk.recorded()
    assert where(ANSWER, agent) > 0
    first, second = talk.server.calls
    assert truncations(first) == truncations(second) == [], "it cannot know what it is not told of"
    assert second.received[0] == first.received[0], "the session's configuration"
    assert [event["type"] for event in second.received[1:]] == ["conversation.item.create"]
    told = ServerEvent("", second.received[1])
    assert (told.text("item", "id"), told.text("item", "role")) == (agent_item(talk), "assistant")
    [part] = told.objects("item", "content")
    assert part["type"] == "output_text"
    heard = str(part["text"]).split(" ")
    assert 2 <= len(heard) < 200, "what was heard of it, of 20 s"
    assert set(heard) == {"I", "was"}
    assert [
        type(happening) for happening in talk.happenings if isinstance(happening, SessionStarted | Disconnected)
    ] == [
        SessionStarted,
        Disconnected,
        SessionStarted,
    ]


async def test_a_typed_turn_and_a_stop_from_this_side(out: Path) -> None:
    async def answer(call: Call) -> None:
        await call.open()
        await call.expect("conversation.item.create")
        await call.expect("response.create")
        reply = await Reply(call).start()
        await reply.say("As I said,", LONG_ANSWER)
        await call.expect("response.cancel")
        await reply.cancel()
        await call.stay()

    async with talking(out, answer) as talk:

        async def script() -> None:
            assert await talk.conversation.send_text("讲个故事。")
            await talk.playing(ms=100)
            await talk.conversation.interrupt()
            await talk.happened(ResponseDone)

        await talk.conversation.run(script())
    kinds = [event["type"] for event in talk.server.calls[0].received]
    assert kinds == [
        "session.update",
        "conversation.item.create",
        "response.create",
        "conversation.item.truncate",
        "response.cancel",
    ]


async def test_what_else_the_server_has_to_say(out: Path) -> None:
    async def tell(call: Call) -> None:
        await call.open()
        await call.send(
            "error", error={"type": "invalid_request_error", "code": "unknown_key", "message": "No such key."}
        )
        error: Json = {"code": "asr", "message": "Not understood."}
        await call.send("conversation.item.input_audio_transcription.failed", item_id="i", content_index=0, error=error)
        await call.send(
            "voiceagent.timeline", item_id="i", response_id="r", response_ms=300, parts={"asr": 75, "odd": "x"}
        )
        await call.send(
            "response.output_audio.delta", response_id="r", item_id="i", content_index=0, delta="not base64!"
        )
        await call.send("response.output_audio.delta")
        await call.send("response.created", response={"id": "t", "status": "in_progress"})
        output: Json = [{"type": "function_call", "name": "f"}]
        await call.send("response.done", response={"id": "t", "status": "completed", "output": output})
        await call.stay()

    async with talking(out, tell) as talk:
        await talk.conversation.run(talk.happened(ResponseDone))
    assert talk.happenings[1:] == [
        SessionError("unknown_key", "No such key."),
        SessionError("asr", "Not understood."),
        TurnTimings("i", "r", {"asr": 75}, 300),
        ResponseStarted("t"),
        ResponseDone("t", "completed", None),
    ]


async def test_an_agent_that_does_not_answer(out: Path) -> None:
    async def listen(call: Call) -> None:
        await call.open()
        await call.stay()

    async with talking(out, listen) as talk:
        with pytest.raises(NoAnswer, match="recording 1 was not answered"):
            await talk.conversation.run(Script(talk.device, [HELLO], timeout=0.1).run())


async def test_an_agent_that_fails_to_answer(out: Path) -> None:
    async def fail(call: Call) -> None:
        await call.open()
        await call.user_turn("Hello?")
        await (await Reply(call).start()).end("failed", {"type": "failed", "error": {"code": "timeout"}})
        await call.stay()

    async with talking(out, fail) as talk:
        script = Script(talk.device, [HELLO])
        talk.listeners.append(script.notice)
        with pytest.raises(NoAnswer, match="failed to answer recording 1"):
            await talk.conversation.run(script.run())
    assert any(isinstance(happening, ResponseDone) and happening.error == "timeout" for happening in talk.happenings)


async def test_a_server_that_hangs_up(out: Path) -> None:
    async def hang_up(call: Call) -> None:
        await call.open()

    async with talking(out, hang_up) as talk:
        with pytest.raises(ConnectError, match="too early"):
            await talk.conversation.run(Script(talk.device, [HELLO]).run())
    async with talking(out, hang_up) as talk:
        await talk.conversation.run()


async def test_a_microphone_that_fails_ends_the_talk(out: Path) -> None:
    class Broken:
        async def read(self) -> Frame:
            raise AudioError("unplugged")

    async def listen(call: Call) -> None:
        await call.open()
        await call.stay()

    async with RealtimeServer(listen) as server, RealtimeConnection(server.url) as connection:
        with pytest.raises(AudioError, match="unplugged"):
            await Conversation(connection, Broken(), Player()).run(asyncio.sleep(60))


async def test_cancelling_ends_it_without_a_trace(out: Path) -> None:
    async def listen(call: Call) -> None:
        await call.open()
        await call.stay()

    async with talking(out, listen) as talk:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await talk.conversation.run()


async def test_a_talk_that_is_taken_up_again_is_told_to_the_server_in_order(out: Path) -> None:
    async def listen(call: Call) -> None:
        await call.open()
        await call.user_turn("And now?")
        await call.stay()

    history = (
        Line("user", "u1", "法国的首都？", True),
        Line("agent", "a1", "巴黎。", True),
        Line("user", "u2", "half a wo", False),
        Line("agent", "a2", "One two three four.", True, 500, 0.5),
        Line("agent", "a3", "Never heard.", True, 0, 0.0),
    )
    async with talking(out, listen) as talk:
        conversation = Conversation(
            talk.conversation._connection, talk.device, talk.player, talk.happenings.append, history=history
        )

        async def script() -> None:
            await talk.device.say(HELLO)
            await talk.until(lambda: any(isinstance(each, UserText) and each.final for each in talk.happenings))

        await conversation.run(script())
    told = [ServerEvent("", event) for event in talk.server.calls[0].received[1:]]
    assert [(event.text("item", "id"), event.objects("item", "content")[0]["text"]) for event in told] == [
        ("u1", "法国的首都？"),
        ("a1", "巴黎。"),
        ("a2", "One two"),
    ]
    assert conversation.transcript == (*history, Line("user", user_item(talk), "And now?", True))


async def test_speech_does_not_stop_an_agent_that_may_not_be_interrupted(out: Path) -> None:
    async def talk_on(call: Call) -> None:
        session = await call.open()
        detection: Json = {"type": "server_vad", "interrupt_response": False}
        session["audio"]["input"]["turn_detection"] = detection  # type: ignore[index,call-overload]
        await call.send("session.updated", session=session)
        reply = await Reply(call).start()
        await reply.say("I will go on.", tone(1500, amplitude=6000))
        await call.speech_starts()
        await reply.end()
        await call.stay()

    async with talking(out, talk_on) as talk:

        async def script() -> None:
            await talk.playing(ms=100)
            await talk.device.say(HELLO)
            await talk.happened(UserSpeechStarted)
            await talk.happened(ResponsePlayed)

        await talk.conversation.run(script())
    _, agent = talk.recorded()
    assert where(tone(1500, amplitude=6000), agent) >= 0, "without a gap"
    assert truncations(talk.server.calls[0]) == []


async def test_turns_by_hand(out: Path) -> None:
    async def answer(call: Call) -> None:
        session = await call.open()
        assert session["audio"]["input"]["turn_detection"] is None  # type: ignore[index,call-overload]
        await call.expect("input_audio_buffer.clear")
        await call.expect("input_audio_buffer.commit")
        await call.expect("response.create")
        await call.stay()

    manual = SessionConfig(extra={"audio": {"input": {"turn_detection": None}}})
    async with talking(out, answer, session=manual) as talk:
        device = Microphone(talk.device, on=False)
        conversation = Conversation(talk.conversation._connection, device, talk.player)
        push = PushToTalk("toggle", device)

        async def script() -> None:
            await asyncio.sleep(0.2)
            push.key()
            await asyncio.sleep(0.4)
            push.key()
            await talk.until(lambda: talk.server.calls[0].received[-1]["type"] == "response.create")

        await together(conversation.run(), push.run(conversation), script())
    assert 10 <= len(talk.server.calls[0].heard) <= 30, "only while it was on"
