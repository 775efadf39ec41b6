"""session.created and session.update of OpenAI Realtime: what is shown, what merges, what the talk is told."""

from dataclasses import replace
from typing import cast

import pytest

from tests.support.realtime.wire import Json, asked, error, protocol, say, sent, update
from voiceagent.audio.pcm import silence
from voiceagent.channels.base import Execute, Send
from voiceagent.channels.realtime.protocol import RealtimeProtocol
from voiceagent.session import commands, events
from voiceagent.session.options import SessionOptions
from voiceagent.turn.options import TurnOptions

BASE = SessionOptions(instructions="Be brief.")


def configured(realtime: RealtimeProtocol, **session: object) -> SessionOptions:
    """Change the session; returns what the talk is told."""
    (command,) = asked(say(realtime, "session.update", session={"type": "realtime", **session}))
    assert isinstance(command, commands.Configure)
    return command.options


def hear(realtime: RealtimeProtocol, **audio_input: object) -> SessionOptions:
    return configured(realtime, audio={"input": audio_input})


def shown_input(session: Json) -> dict[str, Json]:
    return cast(dict[str, dict[str, Json]], session["audio"])["input"]


def shown_output(session: Json) -> dict[str, object]:
    return cast(dict[str, dict[str, object]], session["audio"])["output"]


def test_the_session_at_the_start() -> None:
    (created,) = sent(protocol().start())
    assert created == {
        "type": "session.created",
        "event_id": "event_2",
        "session": {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_1",
            "expires_at": 1_800_000_000,
            "model": "voiceagent",
            "instructions": "Be brief.",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "prefix_padding_ms": 300,
                        "silence_duration_ms": 500,
                        "idle_timeout_ms": None,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                    "transcription": None,
                    "noise_reduction": None,
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "default", "speed": 1.0},
            },
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "truncation": "auto",
            "tracing": None,
            "include": None,
            "prompt": None,
            "parallel_tool_calls": True,
            "reasoning": None,
        },
    }


def test_the_configured_defaults_are_shown_and_kept() -> None:
    turn = TurnOptions(threshold=0.6, prefix_ms=200, silence_ms=700)
    defaults = SessionOptions(
        voice="amy", speed=1.1, language="zh", transcribe=True, max_output_tokens=100, modality="text", turn=turn
    )
    realtime = protocol(defaults)
    (action,) = realtime.start()
    session = cast(Json, sent([action])[0]["session"])
    assert shown_output(session)["voice"] == "amy"
    assert shown_input(session)["turn_detection"]["silence_duration_ms"] == 700
    assert shown_input(session)["transcription"] == {"model": "default", "language": "zh", "prompt": None}
    assert session["max_output_tokens"] == 100
    assert session["output_modalities"] == ["text"]
    assert configured(realtime) == defaults


def test_a_talk_whose_defaults_have_another_rate_is_told_first() -> None:
    configure, created = protocol(replace(BASE, output_rate=16_000)).start()
    assert configure == Execute(commands.Configure(BASE))
    assert isinstance(created, Send)


def test_hand_held_turns_by_default() -> None:
    realtime = protocol(replace(BASE, turn=None))
    (created,) = sent(realtime.start())
    assert shown_input(cast(Json, created["session"]))["turn_detection"] is None
    assert hear(realtime, turn_detection={"type": "server_vad"}).turn == TurnOptions()


def test_the_command_comes_before_the_answer() -> None:
    configure, answer = say(protocol(), "session.update", event_id="mine", session={"type": "realtime"})
    assert configure == Execute(commands.Configure(BASE), "mine")
    assert isinstance(answer, Send)


def test_only_the_keys_that_are_there_change() -> None:
    realtime = protocol()
    assert configured(realtime, instructions="讲中文。") == replace(BASE, instructions="讲中文。")
    assert configured(realtime, output_modalities=["text"]).instructions == "讲中文。"
    options = configured(realtime, audio={"output": {"speed": 1.25}})
    assert options == replace(BASE, instructions="讲中文。", modality="text", speed=1.25)
    assert configured(realtime, audio={"input": {}}) == options
    assert configured(realtime, audio={"output": None, "input": None}) == options
    assert configured(realtime, audio=None) == options
    assert configured(realtime) == options


def test_clearing() -> None:
    realtime = protocol(replace(BASE, voice="amy"))
    update(
        realtime,
        instructions="x",
        output_modalities=["text"],
        max_output_tokens=5,
        tools=[{"type": "function", "name": "f"}],
        tool_choice="none",
        tracing="auto",
        include=["item.input_audio_transcription.logprobs"],
        prompt={"id": "p", "version": "2", "variables": {"a": "b", "c": {"type": "input_text", "text": "d"}}},
        parallel_tool_calls=False,
        reasoning={"effort": "low"},
        truncation="disabled",
        audio={"input": {"transcription": {"model": "m"}}, "output": {"voice": "bob", "speed": 1.5}},
        voiceagent={"events": True},
    )
    everything = ("output_modalities", "max_output_tokens", "tool_choice", "tracing", "include", "prompt")
    more = ("parallel_tool_calls", "reasoning", "truncation", "voiceagent")
    session = update(
        realtime,
        instructions="",
        tools=[],
        audio={"input": {"transcription": None, "turn_detection": None}, "output": {"voice": None, "speed": None}},
        **dict.fromkeys((*everything, *more)),
    )
    (created,) = sent(protocol(replace(BASE, instructions="", voice="amy", turn=None)).start())
    assert session == created["session"]


def test_null_clears_instructions_and_tools_too() -> None:
    realtime = protocol()
    update(realtime, tools=[{"type": "function", "name": "f"}])
    session = update(realtime, instructions=None, tools=None)
    assert (session["instructions"], session["tools"]) == ("", [])


@pytest.mark.parametrize(
    ("given", "turn"),
    [
        ({"type": "server_vad"}, TurnOptions()),
        ({}, TurnOptions()),
        ({"type": None}, TurnOptions()),
        ({"type": "server_vad", "silence_duration_ms": 500}, TurnOptions(silence_ms=500)),
        (
            {
                "type": "server_vad",
                "threshold": 0.8,
                "prefix_padding_ms": 100,
                "silence_duration_ms": 250,
                "idle_timeout_ms": 6000,
                "create_response": False,
                "interrupt_response": False,
            },
            TurnOptions(0.8, 100, 250, create_response=False, interrupt_response=False),
        ),
        ({"type": "server_vad", "threshold": 0, "eagerness": "low", "model_version": "x"}, TurnOptions(threshold=0)),
        ({"type": "semantic_vad"}, TurnOptions()),
        ({"type": "semantic_vad", "eagerness": "high"}, TurnOptions(eagerness="high")),
        (
            {"type": "semantic_vad", "eagerness": "low", "create_response": False, "interrupt_response": False},
            TurnOptions(eagerness="low", create_response=False, interrupt_response=False),
        ),
        (None, None),
    ],
)
def test_turn_detection(given: object, turn: TurnOptions | None) -> None:
    assert hear(protocol(), turn_detection=given).turn == turn


def test_turn_detection_keeps_what_a_later_update_leaves_out() -> None:
    realtime = protocol()
    hear(realtime, turn_detection={"type": "server_vad", "silence_duration_ms": 800, "create_response": False})
    assert hear(realtime, turn_detection={"threshold": 0.7}).turn == TurnOptions(0.7, 300, 800, create_response=False)
    assert hear(realtime, turn_detection={"type": "semantic_vad"}).turn == TurnOptions()
    assert hear(realtime, turn_detection={"eagerness": "low"}).turn == TurnOptions(eagerness="low")
    assert hear(realtime, turn_detection={"type": "server_vad"}).turn == TurnOptions()


def test_a_silence_nobody_named_is_shown_as_a_number_but_adapts() -> None:
    realtime = protocol()
    session = update(realtime, audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.4}}})
    assert shown_input(session)["turn_detection"]["silence_duration_ms"] == 500
    assert configured(realtime).turn == TurnOptions(threshold=0.4)
    hear(realtime, turn_detection={"silence_duration_ms": 900})
    assert hear(realtime, turn_detection={"silence_duration_ms": None}).turn == TurnOptions(threshold=0.4)


def test_semantic_turns_do_not_wait_for_a_configured_silence() -> None:
    turn = TurnOptions(threshold=0.6, prefix_ms=200, silence_ms=700)
    realtime = protocol(replace(BASE, turn=turn))
    assert hear(realtime, turn_detection={"type": "semantic_vad"}).turn == replace(turn, silence_ms=None)
    assert hear(realtime, turn_detection={"type": "server_vad"}).turn == turn


def test_transcription() -> None:
    realtime = protocol()
    given = {
        "model": "gpt-4o-mini-transcribe",
        "language": "zh",
        "prompt": "Names",
        "languages": ["zh", "en"],
        "keywords": ["小智", "Kyutai"],
        "delay": "low",
    }
    session = update(realtime, audio={"input": {"transcription": given}})
    shown = {"model": "gpt-4o-mini-transcribe", "language": "zh", "prompt": "Names"}
    assert shown_input(session)["transcription"] == shown
    heard = replace(BASE, transcribe=True, language="zh", asr_prompt="Names, 小智, Kyutai")
    assert configured(realtime) == heard
    assert hear(realtime, transcription={"prompt": None}) == replace(heard, asr_prompt="小智, Kyutai")
    assert hear(realtime, transcription=None) == BASE
    assert hear(realtime, transcription={}) == replace(BASE, transcribe=True)
    assert hear(realtime, transcription={"languages": ["de"]}).language == "de"
    assert hear(realtime, transcription={"languages": ["de", "fr"]}).language is None


def test_formats_of_both_directions() -> None:
    realtime = protocol()
    session = update(
        realtime,
        audio={"input": {"format": {"type": "audio/pcma"}}, "output": {"format": {"type": "audio/pcmu", "rate": 8000}}},
    )
    assert shown_input(session)["format"] == {"type": "audio/pcma"}
    assert shown_output(session)["format"] == {"type": "audio/pcmu"}
    assert configured(realtime).output_rate == 8_000
    assert configured(realtime, audio={"output": {"format": {"type": "audio/pcm"}}}).output_rate == 24_000


@pytest.mark.parametrize(("voice", "option"), [("marin", "marin"), ({"id": "v_1"}, "v_1"), ("default", None)])
def test_voices(voice: object, option: str | None) -> None:
    realtime = protocol()
    assert shown_output(update(realtime, audio={"output": {"voice": voice}}))["voice"] == voice
    assert configured(realtime).voice == option


def test_the_voice_is_fixed_once_heard() -> None:
    realtime = protocol()
    update(realtime, audio={"output": {"voice": "marin"}})
    realtime.encode(events.ResponseStarted("resp_1", "audio", None, True, {}))
    update(realtime, audio={"output": {"voice": "cedar"}})
    realtime.encode(events.ResponseAudio("resp_1", "item_1", silence(960)))
    change = {"type": "realtime", "instructions": "new", "audio": {"output": {"voice": "marin", "speed": 1.5}}}
    answer = error(say(realtime, "session.update", event_id="mine", session=change))
    assert (answer["code"], answer["param"], answer["event_id"]) == (
        "cannot_update_voice",
        "session.audio.output.voice",
        "mine",
    )
    assert configured(realtime, audio={"output": {"voice": "cedar"}}) == replace(BASE, voice="cedar")


def test_everything_else_is_kept_and_shown() -> None:
    given = {
        "model": "gpt-realtime",
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "description": "天气",
                "parameters": {"type": "object", "x": [1.5]},
            },
            {"type": "function", "name": "quit", "description": "ends it"},
        ],
        "tool_choice": {"type": "function", "name": "weather"},
        "max_output_tokens": 4096,
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 8000}},
        "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": [1]}},
        "include": ["item.input_audio_transcription.logprobs"],
        "prompt": {"id": "p", "version": "2", "variables": {"a": "b"}},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "high"},
    }
    session = update(protocol(), **given)
    for key in given.keys() - {"tools"}:
        assert session[key] == given[key]
    for tool, wanted in zip(cast(list[Json], session["tools"]), cast(list[Json], given["tools"]), strict=True):
        assert {key: value for key, value in tool.items() if value is not None} == wanted


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"type": "far_field"}, {"type": "far_field"}),
        ({"type": "near_field", "strength": 0.5}, {"type": "near_field", "strength": 0.5}),
        ({}, None),
        (None, None),
    ],
)
def test_noise_reduction(given: object, shown: object) -> None:
    assert shown_input(update(protocol(), audio={"input": {"noise_reduction": given}}))["noise_reduction"] == shown


def test_our_own_key_is_shown_only_when_given() -> None:
    realtime = protocol()
    assert "voiceagent" not in update(realtime)
    assert update(realtime, voiceagent={"events": True})["voiceagent"] == {"events": True}
    assert update(realtime)["voiceagent"] == {"events": True}
    assert update(realtime, voiceagent={})["voiceagent"] == {"events": False}
    assert "voiceagent" not in update(realtime, voiceagent=None)
