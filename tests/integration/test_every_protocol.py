"""The same scripted conversation over every protocol: the same memory, the same heard text, nothing said twice."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from tests.support.every_protocol.clients import OPTIONS
from tests.support.every_protocol.conversation import Outcome, converse, table
from tests.support.every_protocol.kinds import KINDS, Kind
from tests.support.every_protocol.script import (
    CHINESE,
    ENGLISH,
    HOP_SECONDS,
    WORD_SECONDS,
    Script,
    ToneVoice,
    read_back,
    words,
)
from voiceagent.tts.base import TtsRequest

CYCLES = 6
"""Turns of the loop before time goes on. The default of 42 takes most of the time of so long a talk."""
pytestmark = pytest.mark.looptime(noop_cycles=CYCLES)

EDGE = replace(CHINESE, cut_at=2.3)
"""The agent falls silent near the point where the next character counts as heard."""
every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def check(outcome: Outcome) -> None:
    """What holds wherever the story was cut off."""
    script, heard = outcome.script, outcome.heard
    conversation = script.items(heard)
    assert outcome.conversation == conversation
    assert outcome.memory == [text for role, text in conversation if role in ("user", "assistant")]
    as_messages = {"call": ("assistant", ""), "result": ("tool", script.result)}
    shown = [as_messages.get(role, (role, text)) for role, text in conversation[:-1]]
    assert outcome.shown == [("system", OPTIONS.instructions), *shown]
    assert script.story.startswith(heard)
    check_sound(outcome)
    assert outcome.closed == 1000
    assert not outcome.busy


def check_sound(outcome: Outcome) -> None:
    """Everything came out of the loudspeaker once, in order, and whole, but for the end of the story."""
    script, story = outcome.script, [one.word for one in outcome.story]
    assert story == words(script.story)[: len(story)]
    before, after = words(script.report), words(f"{script.comply} {script.typed} {script.goodbye}")
    assert [one.word for one in outcome.sounded] == [*before, *story, *after]
    cut_off = outcome.story[-1]
    for one in outcome.sounded:
        assert one is cut_off or abs(one.seconds - WORD_SECONDS) <= 2.5 * HOP_SECONDS, one


@every_kind
async def test_the_same_conversation_is_left(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    outcome = await converse(kind, ENGLISH)
    check(outcome)
    assert outcome.heard == ENGLISH.heard
    assert outcome.story_words == words(ENGLISH.heard)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert kind.name in table([outcome])


@every_kind
async def test_a_reply_that_is_cut_off_at_the_edge_of_a_word_is_remembered_to_the_word(kind: Kind) -> None:
    outcome = await converse(kind, EDGE)
    check(outcome)
    assert abs(len(words(outcome.heard)) - len(outcome.story_words)) <= 1


@pytest.mark.parametrize("script", [ENGLISH, CHINESE], ids=["english", "chinese"])
async def test_what_the_voice_says_can_be_read_back(script: Script) -> None:
    assert script.story.startswith(script.heard)
    for answer in script.answers.values():
        spoken = np.concatenate([audio.pcm async for audio in ToneVoice(script).speak(TtsRequest(answer))])
        sounded = read_back(spoken, ToneVoice.sample_rate, script)
        assert [one.word for one in sounded] == words(answer)
