"""Scenario files: what is understood, and what is said of a wrong one."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from voiceagent.cli.eval import SCENARIOS
from voiceagent.errors import ConfigError
from voiceagent.evaluation.scenario import LARGEST, SpeechPiece, find, parse, pieces, read

TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
MILLISECONDS = st.integers(0, 600_000)
WORDS = st.one_of(st.builds(lambda text: {"text": text}, TEXT), st.builds(lambda name: {"wav": name}, TEXT))
PAUSE = st.builds(lambda ms: {"pause_ms": ms}, MILLISECONDS)
SAY = st.one_of(
    TEXT, WORDS, st.builds(lambda first, rest: [first, *rest], st.one_of(TEXT, WORDS), st.lists(st.one_of(TEXT, PAUSE)))
)
INTERJECTION = st.fixed_dictionaries(
    {"kind": st.sampled_from(["backchannel", "interruption", "noise"]), "say": SAY, "after_ms": MILLISECONDS},
    optional={"after": st.sampled_from(["answer", "turn", "commit"]), "level_db": st.floats(-100, 100)},
)
SCENARIO = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"\A[A-Za-z0-9][a-z.-]{0,20}\Z"),
        "turns": st.lists(
            st.fixed_dictionaries(
                {"say": SAY},
                optional={
                    "meanwhile": st.lists(INTERJECTION, max_size=2),
                    "expect": st.fixed_dictionaries({}, optional={"interrupted": st.booleans(), "answer": TEXT}),
                },
            ),
            min_size=1,
            max_size=3,
        ),
    },
    optional={
        "language": TEXT,
        "microphone": st.fixed_dictionaries(
            {},
            optional={
                "noise": st.fixed_dictionaries(
                    {"kind": st.sampled_from(["white", "pink"]), "snr_db": st.floats(0, 50)}
                ),
                "echo": st.fixed_dictionaries({"level_db": st.floats(-60, 0), "delay_ms": st.integers(0, 2000)}),
                "telephone": st.booleans(),
            },
        ),
    },
)


def includes(read: Any, written: Any) -> bool:
    """Whether all that was written was read; what was left out has its default."""
    if isinstance(written, dict):
        return all(includes(read[key], value) for key, value in written.items())
    if isinstance(written, list):
        return len(read) == len(written) and all(includes(one, other) for one, other in zip(read, written, strict=True))
    return bool(read == written)


@given(SCENARIO)
def test_whatever_the_format_allows_is_read_as_it_was_written(written: dict[str, Any]) -> None:
    scenario = parse(yaml.safe_dump(written, allow_unicode=True).encode(), "x.yaml")
    assert includes(to_builtins(scenario), written)


@given(st.one_of(st.binary(max_size=200), st.text("{}[]:&*!-?|>'\"\n \tint0a", max_size=60).map(str.encode)))
def test_a_file_of_anything_is_refused_by_its_name(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^x\.yaml: "):
        parse(data, "x.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", "the whole file: Object missing required field `turns`"),
        ("turns: [{say: hi}]", "the whole file: Object missing required field `name`"),
        ("name: a\nturns: []", "turns: Expected `array` of length >= 1"),
        ("name: a/b\nturns: [{say: hi}]", "name: Expected `str` matching"),
        ("name: a\nturns: [{say: yes}]", r"turns\[0\]\.say: Expected `str \| object \| array`, got `bool`"),
        ("name: a\nturns: [{say: hi, pause: 3}]", r"turns\[0\]: Object contains unknown field `pause`"),
        ("name: a\nturns: [{say: [{}]}]", r"turns\[0\]\.say\[0\]: A piece needs one of `text`, `wav`, `pause_ms`"),
        ("name: a\nturns: [{say: {pause_ms: 5, text: x}}]", r"turns\[0\]\.say: A piece with `pause_ms` takes neither"),
        ("name: a\nturns: [{say: [{pause_ms: 5}]}]", r"turns\[0\]: An utterance needs words or a `wav`"),
        ("name: a\nturns: [{say: hi, meanwhile: [{kind: joke, say: x, after_ms: 1}]}]", r"kind: Invalid enum value"),
        ("name: a\nturns: [{say: hi}]\nmicrophone: {noise: {snr_db: 3}}", "microphone.noise: A noise needs either"),
        (
            "name: a\nturns: [{say: hi}]\nmicrophone: {echo: {level_db: 0, delay_ms: -1}}",
            "delay_ms: Expected `int` >= 0",
        ),
        ("name: [", "line 1: "),
        ("a: &a [*a]\nname: x\nturns: *a", ""),
        ("name: !!int x", r"no YAML \(ValueError\)"),
        ("[" * 1200, "no YAML"),
        ("", "the whole file: Expected `object`, got `null`"),
    ],
)
def test_a_wrong_file_says_where_and_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^x\.yaml: .*{message}"):
        parse(text.encode(), "x.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read: No such file"):
        read(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match="no scenarios"):
        find([tmp_path])
    with pytest.raises(ConfigError, match="larger than"):
        parse(b"#" * (LARGEST + 1), "x.yaml")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        parse(b"\xff\xfe", "x.yaml")


def test_an_utterance_is_words_or_parts() -> None:
    assert pieces("你好") == [SpeechPiece(text="你好")]
    assert pieces(["one", SpeechPiece(pause_ms=300), SpeechPiece(wav="two.wav")])[1].pause_ms == 300
    with pytest.raises(ValueError, match="needs words"):
        pieces([])


def test_the_projects_own_scenarios_are_right() -> None:
    scenarios = [read(path) for path in find([SCENARIOS])]
    assert len({scenario.name for scenario in scenarios}) == len(scenarios) >= 8
    kinds = {entry.kind for scenario in scenarios for turn in scenario.turns for entry in turn.meanwhile}
    assert {"backchannel", "interruption"} <= kinds
