"""OpenAI Realtime sessions that only listen, and those that notice silence."""

from typing import cast

import pytest

from tests.support.realtime.wire import Json, asked, protocol, say, sent, tell, types, update
from voiceagent.channels.realtime.protocol import RealtimeProtocol
from voiceagent.channels.realtime.session_object import SessionPatch
from voiceagent.session import commands, events
from voiceagent.session.options import SessionOptions
from voiceagent.turn.options import TurnOptions

DELTA = "conversation.item.input_audio_transcription.delta"


def configured(realtime: RealtimeProtocol, **session: object) -> SessionOptions:
    (command,) = asked(say(realtime, "session.update", session={"type": "realtime", **session}))
    assert isinstance(command, commands.Configure)
    return command.options


def test_a_transcription_session_from_the_start() -> None:
    configure, created = protocol(kind="transcription").start()
    (command,) = asked([configure])
    assert isinstance(command, commands.Configure)
    assert (command.options.listen_only, command.options.transcribe) == (True, True)
    (event,) = sent([created])
    session = cast(Json, event["session"])
    assert (session["type"], session["object"]) == ("transcription", "realtime.transcription_session")
    heard = cast(dict[str, dict[str, Json]], session["audio"])["input"]
    assert heard["transcription"] == {"model": "default", "language": None, "prompt": None}


def test_an_update_may_make_it_one() -> None:
    realtime = protocol()
    audio = {"input": {"transcription": {"model": "gpt-4o-transcribe", "language": "zh"}, "turn_detection": None}}
    options = configured(realtime, type="transcription", audio=audio, include=None)
    assert (options.listen_only, options.language, options.turn) == (True, "zh", None)
    assert update(realtime, type="transcription")["type"] == "transcription"
    options = configured(realtime)
    assert (options.listen_only, options.instructions) == (False, "Be brief.")


def test_a_client_secret_may_make_it_one() -> None:
    realtime = protocol(given=SessionPatch(type="transcription"))
    (command,) = asked(realtime.start())
    assert isinstance(command, commands.Configure)
    assert command.options.listen_only


@pytest.mark.parametrize(
    ("guesses", "final", "deltas"),
    [
        (["What", "What is", "What is the cap", "What is the capital"], "What is the capital?",
         ["What ", "is the ", "capital?"]),
        (["你好", "你好世界", "你好世界"], "你好世界。", ["你", "好世", "界。"]),
        (["I scream", "I scream for", "Ice cream for", "Ice cream for all"], "Ice cream for all", ["I "]),
        (["Hello there"], "Hello there", ["Hello there"]),
        (["Hello there friend", "Hello there friend"], "Hello, there friend", ["Hello there "]),
        ([], "", []),
    ],
)  # fmt: skip
def test_words_are_told_as_they_become_sure(guesses: list[str], final: str, deltas: list[str]) -> None:
    realtime = protocol(kind="transcription")
    told = tell(realtime, *(events.TranscriptPartial("item_u", guess) for guess in guesses))
    told += tell(realtime, events.TranscriptDone("item_u", final, 1.5))
    assert [event["delta"] for event in told if event["type"] == DELTA] == deltas
    assert told[-1]["transcript"] == final
    again = tell(realtime, events.TranscriptDone("item_v", "Next.", 0.5))
    assert [event.get("delta") for event in again] == ["Next.", None]


def test_a_turn_that_failed_leaves_nothing_for_the_next() -> None:
    realtime = protocol(kind="transcription")
    tell(realtime, *[events.TranscriptPartial("item_u", "What is the")] * 2)
    (failed,) = tell(realtime, events.TranscriptFailed("item_u", "timeout", "Nothing was understood in time."))
    assert str(failed["type"]).endswith(".failed")
    told = tell(realtime, *[events.TranscriptPartial("item_v", "Well, now")] * 2)
    assert [event["delta"] for event in told] == ["Well, "]


def test_a_session_that_talks_has_its_transcripts_whole() -> None:
    realtime = protocol()
    update(realtime, audio={"input": {"transcription": {"model": "any"}}})
    assert tell(realtime, *[events.TranscriptPartial("item_u", "What is the")] * 3) == []


@pytest.mark.parametrize(
    ("detection", "milliseconds"),
    [
        ({"type": "server_vad", "idle_timeout_ms": 6000}, 6000),
        ({"type": "server_vad", "idle_timeout_ms": 0}, None),
        ({"type": "server_vad", "idle_timeout_ms": None}, None),
        ({"type": "semantic_vad", "idle_timeout_ms": 6000}, None),
        (None, None),
    ],
)
def test_how_much_silence_is_noticed(detection: object, milliseconds: int | None) -> None:
    assert configured(protocol(), audio={"input": {"turn_detection": detection}}).idle_timeout_ms == milliseconds


def test_a_configured_idle_time_out_is_kept_and_shown() -> None:
    realtime = protocol(SessionOptions(idle_timeout_ms=9000, turn=TurnOptions()))
    assert "'idle_timeout_ms': 9000" in str(update(realtime))
    assert configured(realtime).idle_timeout_ms == 9000


def test_silence_is_told_as_an_empty_turn() -> None:
    told = tell(
        protocol(), events.IdleTimeoutTriggered("item_s", 1200, 7200), events.AudioCommitted("item_s", "item_a")
    )
    assert types(told) == ["input_audio_buffer.timeout_triggered", "input_audio_buffer.committed"]
    assert (told[0]["audio_start_ms"], told[0]["audio_end_ms"], told[0]["item_id"]) == (1200, 7200, "item_s")


def test_what_fills_the_instructions() -> None:
    realtime = protocol(SessionOptions(variables={"shop": "A", "city": "Bonn"}))
    variables = {"name": "小明", "shop": {"type": "input_text", "text": "B"}}
    options = configured(realtime, prompt={"id": "any", "variables": variables})
    assert options.variables == {"shop": "B", "city": "Bonn", "name": "小明"}
    assert configured(realtime, prompt=None).variables == {"shop": "A", "city": "Bonn"}
