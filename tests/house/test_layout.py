"""The checker of the layout, on modules that break its rules, and on the package itself."""

import ast
import tomllib

import pytest

from scripts.check_layout import EXCEPTIONS, Module, modules, problems

DOC = '"""Thing: does things."""\n'
BODY = "VALUE = 1\n" * 80


def module(path: str, source: str = "") -> Module:
    text = DOC + source + BODY
    return Module(f"voiceagent/{path}", text, ast.parse(text))


def test_the_package_is_laid_out_as_it_should_be() -> None:
    assert not list(problems(modules(), tomllib.loads(EXCEPTIONS.read_text("utf-8"))))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([module("a.py", "class Turn: ...\n"), module("b/c.py", "class Turn: ...\n")], "class Turn is defined in"),
        ([module("a/door_one.py"), module("a/door_two.py")], "voiceagent/a/door_* is a folder that was not made"),
        ([module("a.py", "VALUE = 0\n" * 600)], "more than 600"),
        ([Module("voiceagent/a.py", DOC, ast.parse(DOC))], "fewer than 60"),
        ([module("a.py", "def long():\n" + "    print()\n" * 61)], "voiceagent/a.py:long has 61 lines"),
        ([Module("voiceagent/a.py", BODY, ast.parse(BODY))], "has no docstring"),
    ],
)
def test_a_broken_rule_is_a_problem_with_its_place(found: list[Module], says: str) -> None:
    [line] = problems(found, {})
    assert says in line


@pytest.mark.parametrize(
    "found",
    [
        [
            module("a.py", "class Turn:\n    class Options: ...\n"),
            module("b.py", "class Talk:\n    class Options: ...\n"),
        ],
        [module("a/door_one.py"), module("b/door_two.py")],
        [Module("voiceagent/a/settings.py", DOC, ast.parse(DOC))],
        [module("a.py", 'def long():\n    """Text.\n' + "    more\n" * 90 + '    """\n    return 1\n')],
    ],
)
def test_what_is_no_breach_is_left_alone(found: list[Module]) -> None:
    assert not list(problems(found, {}))


def test_an_exception_has_a_reason_and_a_need() -> None:
    found = [Module("voiceagent/a.py", DOC, ast.parse(DOC))]
    assert not list(problems(found, {"module_lengths": {"voiceagent/a.py": "a table"}}))
    assert "has no reason" in next(problems(found, {"module_lengths": {"voiceagent/a.py": " "}}))
    assert "needs no exception" in next(problems([], {"module_lengths": {"voiceagent/a.py": "a table"}}))
    assert "no rule" in next(problems([], {"nonsense": {}}))
