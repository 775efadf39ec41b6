"""What the words over the agent's mean, in English, Chinese and a few other languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.turn.backchannel import BACKCHANNEL_PHRASES, COMMAND_PHRASES, VoiceMeaning, meaning, repeats, tokens


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Mm-hmm.",
            "Mm-hmm. Mm-hmm.",
            "mhm",
            "Uh-huh.",
            "Yeah, yeah, yeah.",
            "Ok, OK.",
            "Right?",
            "All right.",
            "Um,,",
        ),
        *("I see.", "Oh, really?", "That’s right.", "Of course,", "No problem.", "Okay, got it.", "Ha ha ha!"),
        *(
            "嗯",
            "嗯嗯，对",
            "对的对的",
            "好的，好的。",
            "嗯，好的",
            "是的是的没错",
            "我知道了",
            "原来如此",
            "嗯哼",
            "真的吗？",
        ),
        *("D'accord.", "Sí, claro", "genau, genau", "はい、はい", "そうですね。", "네, 네", "да, конечно", "हाँ, ठीक है"),
    ],
)
def test_a_listener_says(text: str) -> None:
    assert meaning(text) is VoiceMeaning.BACKCHANNEL


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Stop.",
            "Wait a second.",
            "No.",
            "No, not that one",
            "Hold on.",
            "Okay, stop",
            "yeah yeah wait",
            "That's not",
        ),
        *(
            "What?",
            "Excuse me.",
            "Don't say that",
            "停",
            "等一下。",
            "不是，我说的是明天",
            "别说了",
            "好的，等等",
            "嗯嗯不对",
        ),
        *("什么？", "espera", "Nein!", "ちょっと待って", "잠깐만요", "подожди", "रुको"),
    ],
)
def test_an_interrupter_says(text: str) -> None:
    assert meaning(text) is VoiceMeaning.COMMAND


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Yeah, but I meant Tuesday",
            "Boston.",
            "I can't wait to see it",
            "Right, so what about mine",
            "okay computer",
        ),
        *("对，但是我想问", "好吧，那就这样", "我要改到星期三", "कल हो सकता है", "هل يمكنك المساعدة"),
    ],
)
def test_other_words_want_an_answer(text: str) -> None:
    assert meaning(text) is VoiceMeaning.WORDS


@pytest.mark.parametrize("text", ["", " ", "...", "?!", "，。", "'", "♪"])
def test_no_words_mean_nothing(text: str) -> None:
    assert meaning(text) is VoiceMeaning.NOTHING
    assert meaning(text, cut=True) is VoiceMeaning.NOTHING


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yeah, but", VoiceMeaning.BACKCHANNEL),
        ("Yeah, but I", VoiceMeaning.WORDS),
        ("Ok", VoiceMeaning.NOTHING),
        ("Bos", VoiceMeaning.NOTHING),
        ("The judge.", VoiceMeaning.WORDS),
        ("stop", VoiceMeaning.COMMAND),
        ("对，但", VoiceMeaning.BACKCHANNEL),
        ("对，但是", VoiceMeaning.WORDS),
    ],
)
def test_the_last_word_of_a_voice_that_goes_on_may_be_half_a_word(text: str, expected: VoiceMeaning) -> None:
    assert meaning(text, cut=True) is expected


def test_the_longer_phrase_decides() -> None:
    assert meaning("not that") is VoiceMeaning.COMMAND
    assert meaning("no") is VoiceMeaning.COMMAND
    assert meaning("no problem") is VoiceMeaning.BACKCHANNEL
    assert meaning("好了") is VoiceMeaning.COMMAND
    assert meaning("好") is VoiceMeaning.BACKCHANNEL


def test_tokens_are_words_or_characters() -> None:
    assert tokens("Don’t say “Mm-HMM”, １２ 号!") == ("don't", "say", "mm", "hmm", "12", "号")
    assert tokens("好的ok'") == ("好", "的", "ok")


def test_no_phrase_is_in_both_lists() -> None:
    assert not BACKCHANNEL_PHRASES & COMMAND_PHRASES
    assert () not in BACKCHANNEL_PHRASES | COMMAND_PHRASES


@given(st.text(max_size=40), st.booleans())
def test_any_text_has_a_meaning(text: str, cut: bool) -> None:
    assert meaning(text, cut=cut) in VoiceMeaning
    assert meaning(text.upper() + " !", cut=False) is meaning(text.upper())


@given(st.lists(st.sampled_from(sorted(BACKCHANNEL_PHRASES)), min_size=1, max_size=5))
def test_backchannels_in_a_row_are_backchannels(said: list[tuple[str, ...]]) -> None:
    text = ", ".join(" ".join(phrase) for phrase in said)
    # Two of them may by chance hold a command across the comma ("不" is none of them, but "好" and "了" could meet).
    assert meaning(text) in (VoiceMeaning.BACKCHANNEL, VoiceMeaning.COMMAND)


SPOKEN = "Your parcel will arrive on Tuesday between nine and eleven. 您的包裹将在星期二上午送到。"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parcel will arrive on Tuesday", True),
        ("cancel will arrive on two Tuesday between nine", True),
        ("包裹在星期二上午送到", True),
        ("on Tuesday", False),
        ("星期", False),
        ("can you bring it on Wednesday instead", False),
        ("eleven and nine between Tuesday on", False),
        ("", False),
    ],
)
def test_an_echo_repeats_the_agent_in_order(text: str, expected: bool) -> None:
    assert repeats(text, SPOKEN) is expected


def test_nothing_repeats_a_silent_agent() -> None:
    assert not repeats("stop that now please", "")
