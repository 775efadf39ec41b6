"""Whole conversations with a device, through the driver and a session, in virtual time."""

import asyncio

import pytest

from tests.support.session.bench import Answer, NoiseVoice, ScriptedModel, WordsAsr
from tests.support.xiaozhi.device import Device
from tests.support.xiaozhi.room import Room, room
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, ToolCall
from voiceagent.session import events as ev

pytestmark = pytest.mark.looptime

TALE = "Once upon a time there was a king. He had a daughter. She had a golden ball. It fell into a well. " * 2
SHORT = "Paris is the capital. "


def done(there: Room) -> ev.ResponseDone:
    """The first reply's end."""
    return next(event for event in there.of(ev.ResponseDone) if isinstance(event, ev.ResponseDone))


@pytest.mark.parametrize("frame_ms", [20, 60])
@pytest.mark.parametrize("version", [1, 2, 3])
async def test_turns_by_voice(version: int, frame_ms: int) -> None:
    device = Device(version=version, frame_ms=frame_ms)
    async with room(SHORT, "Bye then.", words=["What is it?", "Thanks."], device=device) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.3)
        for turn in (1, 2):
            await there.say(1.0)
            await there.until("tts.stop", turn)
            await asyncio.sleep(0.1)
            assert len(device.starts) == turn + 1
        assert [told["text"] for told in device.of("stt")] == ["What is it?", "Thanks."]
        expected = len(SHORT.strip()) * 0.06
        assert device.played_seconds >= expected
        assert device.gaps == 0
        assert device.most_queued * frame_ms <= 300


async def test_stop_follows_the_last_sound_and_nothing_is_clipped() -> None:
    for firmware in ("2.4", "1.9", "py-xiaozhi"):
        device = Device(firmware=firmware)
        async with room(TALE, device=device) as (there, _):
            device.wake(None)
            await asyncio.sleep(0.2)
            await there.say(1.0)
            stopped = await there.until("tts.stop")
            assert device.clipped == 0
            assert 0 <= stopped - device.silent_since < 0.4


@pytest.mark.parametrize("lead", [1, 3, 10])
async def test_the_lead_is_kept(lead: int) -> None:
    device = Device()
    section = XiaozhiSection(lead_frames=lead)
    async with room(TALE, device=device, section=section) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.2)
        await there.say(1.0)
        await there.playing(3.0)
        assert lead - 1 <= device.queued / 0.06 <= lead + 1.1
        assert device.most_queued <= lead + 1
        await there.until("tts.stop")


async def test_a_wake_word_by_day_and_night() -> None:
    device = Device()
    async with room("Nothing.", device=device) as (there, _):
        device.wake("你好小智")
        await there.until("tts.stop")
        assert [told["text"] for told in device.of("tts", "sentence_start")] == ["Hi, I am listening."]
        assert not there.of(ev.SpeechStarted)
        assert device.state == "listening"


async def test_typed_words() -> None:
    device = Device()
    async with room(SHORT, device=device) as (there, _):
        device.wake("what is the capital of France")
        await there.until("tts.stop")
        assert [told["text"] for told in device.of("stt")] == ["what is the capital of France"]
        assert [told["text"] for told in device.of("tts", "sentence_start")] == [SHORT.strip()]


async def test_push_to_talk() -> None:
    device = Device(mode="manual")
    async with room(SHORT, device=device, words=["What is it?", ""]) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.1)
        await there.say(1.0)
        device.release()
        await there.until("tts.stop")
        assert device.state == "idle"
        device.wake(None)
        await asyncio.sleep(1.0)
        device.release()
        await asyncio.sleep(3.0)
        assert len(device.of("tts", "start")) == 1  # nothing was said: nothing is answered
        assert len(device.of("stt")) == 1


@pytest.mark.parametrize("mode", ["auto", "realtime"])
async def test_an_abort_in_the_middle_of_speech(mode: str) -> None:
    device = Device(mode=mode)  # type: ignore[arg-type]
    section = XiaozhiSection(lead_frames=10)
    async with room(TALE, device=device, section=section) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.2)
        await there.say(1.0)
        await there.playing(2.0)
        assert device.queued > 0.5
        aborted = there.now
        device.abort()
        await there.until("tts.stop", 2)
        await asyncio.sleep(0.1)
        assert device.microphone
        assert device.silent_since - aborted <= 0.085
        if mode == "auto":
            assert device.starts[-1] - aborted <= 0.085
        packets = device.played_seconds
        await asyncio.sleep(5.0)
        assert device.played_seconds == packets
        item = done(there).item
        assert item is not None
        assert TALE.startswith(item.text)
        assert 20 < len(item.text) < 50  # two seconds of it were heard


@pytest.mark.parametrize("seconds", [0.3, 0.9, 1.35, 1.6, 1.8, 2.1])
async def test_an_abort_at_any_stage_is_the_end_of_that_turn(seconds: float) -> None:
    """While the user speaks, before the words are known, before the first token, before the first sound."""
    device = Device()
    asr = WordsAsr(["Tell me a tale."], seconds=0.5)
    async with room(Answer(TALE, first=0.8), device=device, asr=asr) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.2)
        saying = asyncio.create_task(there.say(1.0))
        await asyncio.sleep(seconds)
        assert not device.of("tts")
        device.abort()
        await asyncio.sleep(0.05)
        assert len(device.of("tts", "stop")) == 1
        await saying
        if seconds >= 1.0:  # else the user went on speaking, and is answered
            await asyncio.sleep(8.0)
            assert not device.of("tts", "start")
        else:
            await there.until("tts.stop", 2)


async def test_the_user_cuts_in_on_a_device_with_an_echo_canceller() -> None:
    device = Device(mode="realtime")
    section = XiaozhiSection(lead_frames=10)
    words = ["Tell me a tale.", "Stop that now, please."]
    async with room(TALE, "Fine.", device=device, section=section, words=words) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.3)
        await there.say(1.0)
        await there.playing(2.0)
        began = there.now
        await there.say(1.5)
        stopped = [at for at, event in there.events if isinstance(event, ev.SpeechStarted)][1]
        assert stopped - began < 1.5
        await there.until("tts.stop", 3)
        assert [told["state"] for told in device.of("tts") if told["state"] != "sentence_start"] == [
            *("start", "stop", "start", "stop"),
            *("start", "stop"),
        ]
        assert len(device.starts) == 1


async def test_a_cough_costs_a_pause() -> None:
    device = Device(mode="realtime")
    async with room(TALE, device=device, words=["Tell me a tale.", ""]) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.3)
        await there.say(1.0)
        await there.playing(1.0)
        await there.say(0.12)
        await there.until("tts.stop")
        assert len(device.of("tts", "start")) == 1
        item = done(there).item
        assert item is not None
        assert item.text.strip() == TALE.strip()


async def test_a_model_that_fails_is_apologised_for_and_shown() -> None:
    device = Device()
    failing = Answer("Let me", end=EngineError("llm", "unavailable", "gone"))
    async with room(failing, device=device) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.2)
        await there.say(1.0)
        await there.until("alert")
        assert device.state == "listening"
        assert device.played_seconds >= 0.5


async def test_a_voice_that_fails_leaves_nobody_speaking() -> None:
    device, voice = Device(), NoiseVoice()
    voice.fail_at = 1
    async with room(TALE, device=device, voice=voice) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.2)
        await there.say(1.0)
        await there.until("tts.stop")
        await there.until("alert")


async def test_silence_ends_with_goodbye() -> None:
    device = Device()
    section = XiaozhiSection(silence_seconds=20, goodbye="Good night.")
    async with room(SHORT, device=device, section=section) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.2)
        await there.say(1.0)
        stopped = await there.until("tts.stop")
        await there.until("tts.stop", 2)
        await asyncio.sleep(0.8)
        assert there.closed == 1000
        assert 20 < there.now - stopped < 22
        assert device.of("tts", "sentence_start")[-1]["text"] == "Good night."
        assert device.played_seconds >= (len(SHORT.strip()) + len("Good night.")) * 0.06


async def test_what_the_device_heard_of_its_echo_is_reported() -> None:
    device = Device(version=2, mode="realtime", aec=True)
    async with room(TALE, device=device) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.3)
        await there.say(1.0)
        await there.playing(2.0)
        device.abort()
        await asyncio.sleep(0.5)
        heard = device.played_seconds
        item = done(there).item
        assert item is not None
        assert abs(len(item.text) * 0.06 - heard) < 0.5


async def test_an_answer_that_ends_early_is_played_to_its_end() -> None:
    """The model is cut off by its own limit."""
    device = Device()
    async with room(Answer("Yes.", end=Completed(reason="length")), device=device) as (there, _):
        device.wake(None)
        await asyncio.sleep(0.2)
        await there.say(1.0)
        await there.until("tts.stop")
        assert device.played_seconds >= 0.24


async def test_a_tool_of_the_device_is_called_and_answered() -> None:
    device = Device(mcp=True)
    device.tools = {"self.audio_speaker.set_volume": lambda arguments: f"volume is {arguments['volume']}"}
    calls = (ToolCall("call_1", "self_audio_speaker_set_volume", '{"volume": "40"}'),)
    model = ScriptedModel([Answer("", calls=calls), Answer("It is forty now.")])
    async with room(device=device, model=model) as (there, _):
        await there.until("mcp", 3)
        device.wake("set the volume to forty")
        await there.until("tts.stop")
        assert [tool.name for tool in model.requests[0].tools] == ["self_audio_speaker_set_volume"]
        assert model.requests[1].messages[-1].content == "volume is 40"
        assert [told["text"] for told in device.of("tts", "sentence_start")] == ["It is forty now."]
        assert len(model.requests) == 2


async def test_a_tool_that_is_never_answered_is_answered_for() -> None:
    device = Device(mcp=True)
    device.tools = {"self.camera.take_photo": lambda arguments: None}
    calls = (ToolCall("call_1", "self_camera_take_photo", '{"question": "what is it"}'),)
    model = ScriptedModel([Answer("Let me see.", calls=calls), Answer("I could not look.")])
    section = XiaozhiSection(tool_seconds=2)
    async with room(device=device, model=model, section=section) as (there, _):
        await there.until("mcp", 3)
        device.wake("what do you see")
        await there.until("tts.stop", 2)
        assert "did not answer in time" in model.requests[1].messages[-1].content
        said = [told["text"] for told in device.of("tts", "sentence_start")]
        assert said == ["Let me see.", "I could not look."]
