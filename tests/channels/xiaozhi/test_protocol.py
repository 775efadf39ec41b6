"""A device's conversation, in the test's own time, against a model of the firmware that fails on what a real one would
not survive."""

import json

import numpy as np
import pytest

from tests.support.xiaozhi.device import DTX, WAKE_PACKETS, Crash, Device
from tests.support.xiaozhi.line import Line, asked, line, protocol, tone
from voiceagent.audio.opus import OpusEncoder
from voiceagent.audio.pcm import silence
from voiceagent.channels.base import CloseSocket, Delay, Send
from voiceagent.channels.xiaozhi.emotion import EMOTIONS, emotion_of
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.errors import Refused
from voiceagent.session import commands, events
from voiceagent.session.conversation import Part


def says(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, "session_id": "", **fields})


def tts(state: str, **fields: object) -> str:
    return says("tts", state=state, **fields)


def states(talk: Line) -> list[object]:
    return [told["state"] for told in talk.device.of("tts")]


def turn_of(talk: Line) -> object:
    return talk.asked(commands.Configure)[-1].options.turn


# -- the model itself: what was measured of the firmware --------------------------------------------------------------


def speaking(**kind: object) -> Device:
    device = Device(**kind)  # type: ignore[arg-type]
    device.receive(says_hello(), 0.0)
    device.listen()
    device.receive(tts("start"), 0.1)
    device.advance(0.2)
    device.outbox.clear()
    return device


def says_hello(**fields: object) -> str:
    params = {"format": "opus", "sample_rate": 24000, "channels": 1, "frame_duration": 60}
    return says("hello", transport="websocket", audio_params=params, **fields)


def packets(milliseconds: int, count: int) -> list[bytes]:
    opus = OpusEncoder(24_000, milliseconds)
    return [opus.encode(silence(opus.samples)) for _ in range(count)]


@pytest.mark.parametrize(("milliseconds", "count", "seconds"), [(60, 60, 2.46), (20, 100, 0.82)])
def test_the_model_drops_what_its_40_packets_do_not_hold(milliseconds: int, count: int, seconds: float) -> None:
    device = speaking()
    for packet in packets(milliseconds, count):
        device.receive(packet, 0.2)
    device.advance(5.0)
    assert round(device.played_seconds, 3) == seconds
    with pytest.raises(AssertionError):
        device.check()


@pytest.mark.parametrize(
    ("firmware", "armed_after", "played"), [("2.4", 1.15, 1.2), ("1.9", 0.01, 0.06), ("py-xiaozhi", 0.01, 0.06)]
)
def test_the_model_plays_its_queue_to_the_end_or_throws_it_away(
    firmware: str, armed_after: float, played: float
) -> None:
    device = speaking(firmware=firmware)
    for packet in packets(60, 20):
        device.receive(packet, 0.2)
    device.receive(tts("stop"), 0.25)
    device.advance(3.0)
    assert abs(device.starts[-1] - 0.25 - armed_after) < 0.02
    assert round(device.played_seconds, 3) == played


def test_the_model_crashes_where_the_firmware_does() -> None:
    with pytest.raises(Crash):
        Device().receive(says("hello", audio_params={}), 0.0)
    with pytest.raises(Crash):
        speaking().receive(says_hello(), 1.0)
    with pytest.raises(Crash):
        speaking(version=2).receive(packets(60, 1)[0] + bytes(20), 0.3)
    with pytest.raises(Crash):
        speaking().receive(says("mcp", payload={"id": "1"}), 0.3)


def test_the_model_sees_only_the_latest_of_two_states_at_once() -> None:
    device = speaking()
    for packet in packets(60, 20):
        device.receive(packet, 0.2)
    for state in ("stop", "start", "stop"):
        device.receive(tts(state), 0.25)
    device.advance(3.0)
    assert device.flushed == 0


# -- listening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "realtime"])
def test_the_voice_decides_when_a_turn_is_over(mode: str) -> None:
    talk = line(device=Device(mode=mode)).listen()  # type: ignore[arg-type]
    assert turn_of(talk) is not None
    assert talk.device.say(tone(0.3, 16_000)) == 5
    talk.run(0.01)
    assert len(talk.asked(commands.AppendAudio)) == 5
    assert not talk.asked(commands.CommitAudio)


def test_a_held_button_is_a_turn() -> None:
    talk = line(device=Device(mode="manual")).listen()
    assert turn_of(talk) is None
    talk.device.say(tone(0.6, 16_000))
    talk.run(0.6)
    talk.device.release()
    talk.run(0.1)
    assert [type(command) for command in talk.commands[-2:]] == [commands.CommitAudio, commands.CreateResponse]
    talk.reply()
    talk.speak(0.3)
    talk.run(0.3)
    talk.done()
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.run(0.4)
    assert talk.device.state == "idle"
    talk.finish()


def test_a_button_that_was_only_touched_is_none() -> None:
    talk = line(device=Device(mode="manual")).listen()
    talk.device.say(tone(0.06, 16_000))
    talk.device.release()
    talk.run(0.1)
    assert not talk.asked(commands.CommitAudio)
    assert not talk.asked(commands.CreateResponse)
    assert talk.commands[-1] == commands.ClearAudio()


def test_a_button_held_in_silence_gets_no_answer() -> None:
    talk = line(device=Device(mode="manual")).listen()
    talk.tell(events.TranscriptDone("item_1", "", 1.0))
    assert talk.commands[-1] == commands.CancelResponse()
    assert not talk.device.of("stt")


def test_a_button_pressed_while_the_agent_speaks_interrupts_it() -> None:
    talk = line(device=Device(mode="manual")).listen()
    talk.device.release()
    talk.reply()
    talk.speak(1.2)
    talk.run(0.3)
    talk.device.abort()
    talk.device.wake(None)
    talk.run(0.1)
    assert talk.asked(commands.Interrupt)
    assert talk.device.queued == 0
    talk.finish()


def test_listening_that_stops_in_the_middle_of_a_turn_ends_it() -> None:
    talk = line().listen()
    talk.device.say(tone(0.3, 16_000))
    talk.device.release()
    talk.run(0.01)
    last = talk.asked(commands.AppendAudio)[-1]
    assert len(last.pcm) / last.rate == 2.0
    assert not last.pcm.any()


def test_an_unknown_mode_is_auto() -> None:
    talk = line().greet()
    talk.act(talk.protocol.receive(says("listen", state="start", mode="psychic")))
    assert turn_of(talk) is not None


@pytest.mark.parametrize("mode", ["auto", "manual"])
def test_what_is_still_on_its_way_when_it_speaks_does_not_count(mode: str) -> None:
    talk = line(device=Device(mode=mode)).listen()  # type: ignore[arg-type]
    talk.reply()
    talk.speak(0.3)
    assert talk.protocol.receive(DTX) == []
    if mode == "auto":
        assert talk.commands[-1] == commands.ClearAudio()


def test_in_realtime_it_is_heard_while_it_speaks() -> None:
    talk = line(device=Device(mode="realtime")).listen()
    talk.reply()
    talk.speak(0.3)
    talk.run(0.1)
    assert talk.device.say(tone(0.12, 16_000)) == 2
    talk.run(0.01)
    assert len(talk.asked(commands.AppendAudio)) == 2


def test_other_ids_than_ours_are_nobodys_business() -> None:
    talk = line().greet()
    for session_id in ("", "somebody else's", 7, None):
        message = json.dumps({"type": "listen", "state": "start", "mode": "auto", "session_id": session_id})
        talk.act(talk.protocol.receive(message))
    talk.device.listen()
    talk.run(0.02)
    talk.device.say(tone(0.06, 16_000))
    talk.run(0.01)
    assert talk.asked(commands.AppendAudio)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "iot", "update": True, "descriptors": [{"name": "Speaker", "properties": {}}]},
        {"type": "iot", "states": [{"name": "Speaker", "state": {"volume": 70}}]},
        {"type": "goodbye"},
        {"type": "custom", "payload": {}},
        {"type": "listen"},
        {"type": "listen", "state": "dance"},
        {"type": "mcp"},
        {"type": "mcp", "payload": {"method": "notifications/state_changed"}},
    ],
)
def test_what_nobody_needs_has_no_effect(message: dict[str, object]) -> None:
    talk = line(device=Device(mcp=True)).listen()
    assert talk.protocol.receive(json.dumps(message)) == []


# -- the wake word ----------------------------------------------------------------------------------------------------


def woken(talk: Line, word: str) -> Line:
    talk.greet()
    talk.device.wake(word)
    talk.run(0.03)
    return talk


@pytest.mark.parametrize("word", ["你好小智", "Hi,ESP", "hi esp", "Hey, Willow!", "Jarvis", ""])
def test_a_wake_word_is_greeted_and_is_no_turn(word: str) -> None:
    talk = woken(line(), word)
    assert not talk.asked(commands.AppendAudio)
    assert [reply.words for reply in talk.asked(commands.CreateResponse)] == ["Hi, I am listening."]
    assert not talk.asked(commands.CreateItem)
    assert not talk.device.of("stt")


def test_the_greeting_is_in_the_agents_language_or_as_configured() -> None:
    talk = woken(line(language="zh-CN"), "你好小智")
    assert talk.asked(commands.CreateResponse)[-1].words == "在呢，你说。"
    talk = woken(line(XiaozhiSection(greeting="Servus!")), "你好小智")
    assert talk.asked(commands.CreateResponse)[-1].words == "Servus!"


def test_a_wake_word_may_be_met_with_silence() -> None:
    for section in (XiaozhiSection(on_wake="silent"), XiaozhiSection(greeting="")):
        talk = woken(line(section), "你好小智")
        assert not talk.asked(commands.CreateResponse)
        assert not talk.asked(commands.AppendAudio)


def test_a_wake_word_may_be_taken_for_words() -> None:
    talk = woken(line(XiaozhiSection(on_wake="text")), "你好小智")
    (item,) = talk.asked(commands.CreateItem)
    assert item.item.parts == (Part("text", "你好小智"),)  # type: ignore[union-attr]
    assert talk.asked(commands.CreateResponse)[-1].words is None


def test_the_sound_of_the_wake_word_counts_where_that_is_configured() -> None:
    talk = woken(line(XiaozhiSection(wake_audio=True, wake_tail_ms=0)), "你好小智")
    assert len(talk.asked(commands.AppendAudio)) == WAKE_PACKETS


def test_the_tail_of_the_wake_word_is_not_heard() -> None:
    talk = woken(line(XiaozhiSection(on_wake="silent")), "你好小智")
    talk.device.say(tone(0.6, 16_000))
    talk.run(0.01)
    assert len(talk.asked(commands.AppendAudio)) == 6  # of ten packets: 200 ms are four


def test_own_wake_words_are_added() -> None:
    talk = woken(line(XiaozhiSection(wake_words=("Hallo Haus",))), "hallo, haus")
    assert talk.asked(commands.CreateResponse)[-1].words
    assert not talk.asked(commands.CreateItem)


def test_typed_words_are_a_turn() -> None:
    talk = line().listen()
    talk.reply()
    talk.speak(0.6)
    talk.run(0.2)
    talk.act(talk.protocol.receive(says("listen", state="detect", text="今天天气怎么样？")))
    talk.run(0.1)
    order = [type(command) for command in talk.commands[-4:]]
    assert order == [commands.Interrupt, commands.ClearAudio, commands.CreateItem, commands.CreateResponse]
    assert [told["text"] for told in talk.device.of("stt")] == ["今天天气怎么样？"]
    assert talk.device.queued == 0
    talk.finish()


def test_too_many_typed_words_are_told_so() -> None:
    talk = line().listen()
    talk.act(talk.protocol.receive(says("listen", state="detect", text="x" * 5_000)))
    (alert,) = talk.device.of("alert")
    assert (alert["status"], alert["message"]) == ("Error", "That message is too long.")
    assert not talk.asked(commands.CreateItem)


def test_what_is_wrong_is_not_shown_in_the_middle_of_speech() -> None:
    talk = line().listen()
    talk.reply()
    talk.speak(0.3)
    talk.act(talk.protocol.receive(says("listen", state="detect", text="x" * 5_000)))
    talk.run(0.3)
    assert not talk.device.of("alert")
    talk.done()
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.finish()
    assert len(talk.device.of("alert")) == 1


# -- speaking ---------------------------------------------------------------------------------------------------------


def test_a_reply_from_its_first_word_to_the_next_turn() -> None:
    talk = line().listen()
    talk.tell(events.TranscriptDone("item_u", "How are you?", 1.0))
    talk.reply("I am **fine** 😊, thanks. ")
    talk.speak(0.3)
    talk.tell(events.ResponseText("resp_1", "item_resp_1", "And you?"))
    talk.speak(0.3)
    talk.done()
    talk.run(0.62)
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.run(0.3)
    told = [(message["type"], message.get("text") or message.get("state") or message.get("emotion"))
            for message in talk.device.got[1:]]  # fmt: skip
    assert told == [
        ("stt", "How are you?"),
        ("llm", "happy"),
        ("tts", "start"),
        ("tts", "I am fine, thanks."),
        ("tts", "And you?"),
        ("tts", "stop"),
    ]
    assert len(talk.device.starts) == 2
    talk.finish()


def test_stop_comes_only_when_the_last_packet_was_played() -> None:
    for firmware in ("2.4", "1.9", "py-xiaozhi"):
        talk = line(device=Device(firmware=firmware)).listen()
        talk.reply()
        talk.speak(0.5)  # eight packets and a third
        talk.done()
        talk.run(0.45)
        talk.tell(events.ResponsePlayed("resp_1"))  # by a clock that is a little fast
        talk.run(0.5)
        assert round(talk.device.played_seconds, 3) == 0.54
        assert talk.device.state == "listening"
        talk.finish()


def test_what_fills_no_packet_does_not_wait_for_ever() -> None:
    talk = line().listen()
    talk.reply()
    talk.speak(0.09)
    talk.run(0.05)
    assert len(talk.device.played) + (talk.device.queued > 0) == 1
    talk.run(0.15)
    assert round(talk.device.played_seconds, 3) == 0.12
    heard = talk.device.heard()
    assert abs(heard[-400:]).max() < 500  # the rest of the packet is silence
    assert abs(heard[1_440:1_920]).max() > 3_000


def test_speech_comes_whole_however_it_is_cut() -> None:
    talk = line().listen()
    talk.reply()
    audio = tone(1.0)
    for start, end in ((0, 100), (100, 5_000), (5_000, 5_001), (5_001, 24_000)):
        talk.tell(events.ResponseAudio("resp_1", "item_resp_1", audio[start:end]))
    talk.done()
    talk.run(1.2)
    heard = talk.device.heard()
    assert len(heard) == 17 * 1440
    delay = 156  # libopus' look-ahead of 6.5 ms
    correlation = np.corrcoef(heard[delay : delay + 23_000].astype(float), audio[:23_000].astype(float))[0, 1]
    assert correlation > 0.95


def test_a_second_reply_goes_on_without_a_stop() -> None:
    talk = line().listen()
    talk.reply()
    talk.speak(0.3)
    talk.done()
    talk.run(0.3)
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.run(0.1)
    talk.reply("Once more. ", "resp_2")
    talk.speak(0.3, "resp_2")
    talk.run(0.35)
    assert states(talk) == ["start", "sentence_start", "sentence_start"]
    assert len(talk.device.of("llm")) == 2
    talk.done("resp_2")
    talk.tell(events.ResponsePlayed("resp_2"))
    talk.finish()


def test_a_reply_without_a_sound_does_not_make_it_speak() -> None:
    talk = line().listen()
    talk.reply("😊")
    talk.done()
    talk.tell(events.ResponsePlayed("resp_1"))
    assert not talk.device.of("tts")
    assert talk.wakes["silence"] > 59
    talk.finish()


def test_speech_may_begin_while_the_device_is_idle() -> None:
    talk = line().greet()
    talk.reply()
    talk.speak(0.3)
    talk.run(0.4)
    assert round(talk.device.played_seconds, 3) == 0.3
    talk.done()
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.finish()


def test_the_watchdog_ends_speaking_whatever_happens_to_the_reply() -> None:
    talk = line().listen()
    talk.reply()
    talk.speak(0.3)
    talk.run(25)
    assert talk.device.state == "listening"
    assert len(talk.device.starts) == 2
    talk.speak(0.3)  # it did come, after all
    talk.run(0.4)
    assert talk.device.dropped == 0
    talk.run(25)
    talk.device.check()


def test_the_watchdog_does_not_bite_a_long_reply() -> None:
    talk = line().listen()
    talk.reply()
    talk.speak(0.18)
    for _ in range(100):
        talk.speak(0.3)
        talk.run(0.3)
    assert states(talk) == ["start", "sentence_start"]
    assert talk.device.gaps == 0
    talk.finish()


def test_an_error_is_shown_once_the_device_is_silent() -> None:
    for language, status in (("en", "Error"), ("zh", "错误")):
        talk = line(language=language).listen()
        talk.reply("Sorry. ")
        talk.speak(0.3)
        talk.done(status="failed")
        talk.run(0.3)
        talk.tell(events.ResponsePlayed("resp_1"))
        talk.run(0.3)
        (alert,) = talk.device.of("alert")
        assert alert["status"] == status
        assert talk.device.got[-1] == alert
        talk.finish()


def test_an_error_without_a_sound_is_shown_at_once() -> None:
    talk = line().listen()
    talk.reply()
    talk.done(status="failed")
    talk.tell(events.ResponsePlayed("resp_1"))
    assert [told["emotion"] for told in talk.device.of("alert")] == ["sad"]


def test_the_lead_never_fills_the_devices_queue() -> None:
    for frame_ms in (20, 40, 60):
        section = XiaozhiSection(lead_frames=10)
        talk = line(section, device=Device(frame_ms=frame_ms)).listen()
        options = talk.asked(commands.Configure)[-1].options
        assert options.lead_ms is not None
        assert options.lead_ms / frame_ms + 60 / frame_ms + 1 <= 40


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("firmware", ["2.4", "1.9", "py-xiaozhi"])
def test_armed_again_within_60_ms_of_an_abort_with_1200_ms_queued(firmware: str, version: int) -> None:
    talk = line(device=Device(version=version, firmware=firmware)).listen()  # type: ignore[arg-type]
    talk.reply()
    talk.speak(1.26)
    talk.run(0.06)
    assert talk.device.queued >= 1.19
    began = talk.now
    talk.device.abort("wake_word_detected")
    talk.run(2.0)
    assert 0 < talk.device.starts[-1] - began <= 0.060
    assert talk.device.silent_since - began <= 0.060
    assert talk.commands[-2:] == [commands.Interrupt(withdraw=True), commands.ClearAudio()]
    if firmware == "2.4":
        talk.finish()


def test_the_flush_is_exactly_what_was_measured() -> None:
    talk = line().listen()
    talk.reply()
    talk.speak(0.6)
    actions = talk.protocol.receive(says("abort"))
    shown = [action.frame if isinstance(action, Send) else action for action in actions[:4]]
    told = [json.loads(frame)["state"] if isinstance(frame, str) else frame for frame in shown]
    assert told == ["stop", "start", Delay(0.02), "stop"]


@pytest.mark.parametrize("mode", ["auto", "manual", "realtime"])
def test_an_abort_is_answered_at_any_stage(mode: str) -> None:
    """Before anything was said, before the words are known, before the first token, between, and afterwards."""
    stages: list[list[events.Event]] = [
        [],
        [events.SpeechStarted("u", 0)],
        [events.SpeechStopped("u", 900), events.AudioCommitted("u", None)],
        [events.TranscriptDone("u", "Hi.", 1.0)],
        [events.ResponseStarted("resp_1", "audio", None, True, {})],
        [events.ResponseText("resp_1", "item_resp_1", "Hello. ")],
    ]
    for count in range(len(stages) + 1):
        talk = line(device=Device(mode=mode)).listen()  # type: ignore[arg-type]
        for stage in stages[:count]:
            talk.tell(*stage)
        before = len(talk.device.of("tts"))
        talk.device.abort()
        talk.run(0.01)
        assert len(talk.device.of("tts", "stop")) == 1, count
        assert len(talk.device.of("tts")) == before + 1
        assert commands.Interrupt(withdraw=True) in talk.commands
        talk.finish()


def test_nothing_of_an_aborted_reply_follows() -> None:
    talk = line().listen()
    talk.reply()
    talk.device.abort()
    talk.run(0.1)
    talk.speak(0.3)  # a session that is late
    talk.run(0.1)
    assert talk.device.played_seconds == 0
    talk.done(status="cancelled")
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.reply("Yes? ", "resp_2")
    talk.speak(0.3, "resp_2")
    talk.run(0.4)
    assert round(talk.device.played_seconds, 3) == 0.3
    talk.done("resp_2")
    talk.tell(events.ResponsePlayed("resp_2"))
    talk.finish()


@pytest.mark.parametrize("all_sent", [False, True])
def test_a_voice_that_takes_the_floor_empties_the_queue(all_sent: bool) -> None:
    talk = line(device=Device(mode="realtime")).listen()
    talk.reply()
    talk.speak(1.2)
    if all_sent:
        talk.done()
    talk.run(0.24)
    talk.tell(events.SpeechStarted("item_u", 1_000))
    if not all_sent:
        talk.done(status="cancelled")
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.run(1.5)
    assert round(talk.device.played_seconds, 2) <= 0.3
    assert talk.device.microphone
    assert len(talk.device.starts) == 1
    assert states(talk)[-3:] == ["stop", "start", "stop"]
    talk.finish()


def test_a_reply_that_goes_on_under_a_voice_is_not_flushed() -> None:
    talk = line(device=Device(mode="realtime")).listen()
    talk.reply()
    talk.speak(0.6)
    talk.tell(events.SpeechStarted("item_u", 1_000))  # it is protected: it may not be interrupted
    talk.run(0.6)
    assert round(talk.device.played_seconds, 2) == 0.6
    talk.done()
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.finish()


# -- the echo, aligned ------------------------------------------------------------------------------------------------


def test_the_device_tells_what_it_has_just_played() -> None:
    talk = line(device=Device(version=2, mode="realtime", aec=True)).listen()
    talk.reply()
    talk.speak(0.6)
    for _ in range(10):
        talk.run(0.06)
        talk.device.say(silence(960))
    talk.run(0.01)
    told = [report.audio_ms for report in talk.asked(commands.ReportPlayed)]
    assert told == [60 * number for number in range(1, len(told) + 1)]
    assert len(told) >= 9
    assert {report.item_id for report in talk.asked(commands.ReportPlayed)} == {"item_resp_1"}
    order = [type(command) for command in talk.commands[-2:]]
    assert order == [commands.ReportPlayed, commands.AppendAudio]


def test_a_flush_ends_what_it_can_have_played() -> None:
    talk = line(device=Device(version=2, mode="realtime", aec=True)).listen()
    talk.reply()
    talk.speak(0.6)
    frame = talk.device.frame(DTX)
    stamped = frame[:8] + (60).to_bytes(4, "big") + frame[12:]
    assert commands.ReportPlayed("item_resp_1", 60) in asked(talk.protocol.receive(stamped))
    talk.device.abort()
    talk.run(0.1)
    assert not any(isinstance(command, commands.ReportPlayed) for command in asked(talk.protocol.receive(stamped)))


@pytest.mark.parametrize(("version", "aec"), [(2, False), (3, True), (1, True)])
def test_stamps_mean_nothing_in_other_builds(version: int, aec: bool) -> None:
    talk = line(device=Device(version=version, mode="realtime", aec=aec)).listen()
    talk.reply()
    talk.speak(0.6)
    for _ in range(10):
        talk.run(0.06)
        talk.device.say(silence(960))
    assert not talk.asked(commands.ReportPlayed)


def test_the_position_is_that_of_the_reply_not_of_the_talk() -> None:
    talk = line(device=Device(version=2, mode="realtime", aec=True)).listen()
    for response_id in ("resp_1", "resp_2"):
        talk.reply("Yes. ", response_id)
        talk.speak(0.15, response_id)
        talk.done(response_id)
        for _ in range(5):
            talk.run(0.06)
            talk.device.say(silence(960))
    talk.run(0.1)
    reports = [(report.item_id[-1], report.audio_ms) for report in talk.asked(commands.ReportPlayed)]
    assert ("1", 180) in reports
    assert ("2", 60) in reports
    assert max(position for _, position in reports) <= 180


# -- silence and the end ----------------------------------------------------------------------------------------------


def test_after_a_long_silence_it_says_goodbye_and_hangs_up() -> None:
    talk = line(XiaozhiSection(silence_seconds=20)).listen()
    talk.run(19.9)
    assert not talk.asked(commands.CreateResponse)
    talk.run(0.2)
    assert talk.asked(commands.CreateResponse)[-1].words == "Goodbye, talk to you later."
    talk.reply("Goodbye.")
    talk.speak(0.6)
    talk.done()
    talk.run(0.61)
    talk.tell(events.ResponsePlayed("resp_1"))
    assert talk.closed is None
    talk.run(1.0)
    assert talk.closed is not None
    assert talk.closed.code == 1000
    assert round(talk.device.played_seconds, 3) == 0.6
    talk.device.check()


def test_whatever_is_said_puts_goodbye_off() -> None:
    talk = line(XiaozhiSection(silence_seconds=20)).listen()
    talk.run(15)
    talk.tell(events.SpeechStarted("u", 0))
    talk.run(30)
    talk.tell(events.SpeechStopped("u", 30_000))
    talk.run(15)
    talk.reply()
    talk.run(25)  # the answer takes its time
    talk.speak(0.3)
    talk.run(0.3)
    talk.done()
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.run(19)
    assert not talk.asked(commands.CreateResponse)
    talk.run(3)
    assert talk.asked(commands.CreateResponse)


def test_goodbye_may_be_interrupted() -> None:
    talk = line(XiaozhiSection(silence_seconds=20), device=Device(mode="realtime")).listen()
    talk.run(20.1)
    talk.reply("Goodbye.")
    talk.speak(0.6)
    talk.run(0.2)
    talk.tell(events.SpeechStarted("u", 0))
    talk.done(status="cancelled")
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.run(30)
    assert talk.closed is None


def test_a_goodbye_that_cannot_be_said_is_not_waited_for() -> None:
    talk = line(XiaozhiSection(silence_seconds=20)).listen()
    talk.run(20.1)
    talk.run(15.1)
    assert talk.closed is not None
    assert talk.closed.code == 1000


def test_push_to_talk_is_hung_up_without_a_word() -> None:
    for section, mode in ((XiaozhiSection(silence_seconds=20), "manual"), (XiaozhiSection(goodbye=""), "auto")):
        talk = line(section, device=Device(mode=mode)).listen()  # type: ignore[arg-type]
        talk.run(61)
        assert talk.closed is not None
        assert not talk.asked(commands.CreateResponse)


@pytest.mark.parametrize("words", ["Goodbye!", "再见。", "bye bye"])
def test_who_says_goodbye_is_answered_and_hung_up(words: str) -> None:
    talk = line().listen()
    talk.tell(events.TranscriptDone("u", words, 1.0))
    talk.reply("See you. ")
    talk.speak(0.3)
    talk.done()
    talk.run(0.31)
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.run(1.0)
    assert talk.closed == CloseSocket(1000, "the conversation is over")


def test_who_speaks_just_after_a_goodbye_is_heard() -> None:
    talk = line().listen()
    talk.tell(events.TranscriptDone("u", "Goodbye!", 1.0))
    talk.reply("See you. ")
    talk.speak(0.3)
    talk.done()
    talk.run(0.31)
    talk.tell(events.ResponsePlayed("resp_1"))
    talk.run(0.5)
    talk.tell(events.SpeechStarted("u2", 0))
    talk.run(5.0)
    assert talk.closed is None


def test_last_words() -> None:
    talk = line().listen()
    assert talk.protocol.end("draining") == ([], 1001)
    talk.reply()
    talk.speak(0.3)
    (stop,), code = talk.protocol.end("finished")
    assert (json.loads(stop)["state"], code) == ("stop", 1000)
    talk.speak(0.3)
    frames, code = talk.protocol.end("internal_error")
    assert [json.loads(frame)["type"] for frame in frames] == ["tts", "alert"]
    assert code == 1011
    assert protocol().end("expired") == ([], 1000)
    talk.speak(0.3)
    assert talk.protocol.end("too_slow") == ([], 1008)


def test_what_is_refused_has_no_effect_on_the_device() -> None:
    talk = line().listen()
    assert talk.protocol.refuse(Refused("input_audio_buffer_overflow", "too much"), None) == []
    assert talk.protocol.on_call_control("", None) == []


# -- faces ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("The capital is Paris.", "neutral"),
        ("Hello there!", "happy"),
        ("你好，很高兴见到你。", "happy"),
        ("Unfortunately I cannot do that.", "sad"),
        ("抱歉，我做不到。", "sad"),
        ("Let me check. 😎", "cool"),
        ("哈哈，真有意思", "laughing"),
        ("I'm not sure what you mean.", "confused"),
        ("我没听清。", "confused"),
        ("晚安！", "sleepy"),
        ("Wow, that is amazing.", "surprised"),
        ("让我想想", "thinking"),
        ("当然可以。", "confident"),
        ("Therapists say this.", "neutral"),
        ("", "neutral"),
    ],
)
def test_the_face_fits_the_words(text: str, emotion: str) -> None:
    assert emotion_of(text) == emotion


def test_there_are_21_faces() -> None:
    assert len(EMOTIONS) == 21
