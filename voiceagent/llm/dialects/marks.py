"""Marks that models write and nobody should hear: one table, and whether a text holds one or may still become one.

Pure functions over text. The filter that goes through an answer by them is in `markup.py`.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

THOUGHTS = (
    "think", "thinking", "thought", "thoughts", "reasoning", "reason", "reflection", "scratchpad", "analysis",
    "inner_monologue", "chain_of_thought", "seed:think", "mm:think", "antthinking", "antml:thinking", "longcat_think",
)  # fmt: skip
CALLS = (
    "tool_call", "tool_calls", "toolcall", "tool_use", "tool_code", "function_call", "function_calls", "functioncall",
    "function", "invoke", "antml:invoke", "antml:function_calls", "minimax:tool_call", "seed:tool_call",
    "longcat_tool_call", "use_tool",
)  # fmt: skip
NAMED_CALLS = ("function", "invoke", "antml:invoke")
"""Those whose opening tag holds the tool's name."""
RESULTS = (
    "tool_response", "tool_result", "tool_results", "tool_output", "function_response", "function_result",
    "function_results",
)  # fmt: skip
"""What a model makes up of a tool's answer."""
WRAPPERS = (
    "answer", "final", "final_answer", "response", "output", "s", "bos", "eos", "pad", "unk", "end_of_turn",
    "end_of_utterance", "assistant", "parameter", "arg_key", "arg_value",
)  # fmt: skip
"""Tags that only stand around what is spoken, or are left over from a call."""
MOST_MARK = 64
"""Characters of a mark without attributes; with them four times as many."""

_NAMES = (*THOUGHTS, *CALLS, *RESULTS, *WRAPPERS, "start_of_turn")
_HALF_BARS = ("channel", "tool_call", "think")
"""Gemma's closing marks, as in `<channel|>`."""
_BRACKETS = ("THINK", "TOOL_CALLS", "INST", "TOOL_RESULTS", "AVAILABLE_TOOLS", "ARGS", "CALL_ID", "BOT", "gMASK")
_WRITTEN_BRACKETS = tuple(f"[{slash}{name}]" for name in _BRACKETS for slash in ("", "/"))
_WRITTEN_TRIANGLES = ("◁think▷", "◁/think▷")

_TAG = re.compile(r"<(/?)\s*([A-Za-z][\w:-]*)((?:\s*=\s*|\s)[^<>]{0,200})?(/?)>")
_BAR = re.compile(r"<[|｜]([^<>|｜\n]{1,48})[|｜]?>")
_HALF_BAR = re.compile(r"<(" + "|".join(_HALF_BARS) + r")[|｜]>")
_BRACKET = re.compile(r"\[(/?)(" + "|".join(_BRACKETS) + r")\]")
_TRIANGLE = re.compile(r"◁(/?)think▷")
_PARTIAL_TAG = re.compile(r"</?\s*([A-Za-z][\w:-]*)?([^<>]*)")
STARTS = re.compile(r"[<\[◁`]")

CLOSES_THOUGHT = re.compile(
    r"</\s*(?:" + "|".join(THOUGHTS) + r")\s*>|\[/THINK\]|◁/think▷|<channel[|｜]>|<think[|｜]>"
    r"|<[|｜](?:/think(?:ing)?|end_?of_?thought|end_?think(?:ing)?|eot_thought|thought_end|think(?:ing)?_end)[|｜]>",
    re.IGNORECASE,
)
OPENS_THOUGHT = re.compile(
    r"<\s*(?:" + "|".join(THOUGHTS) + r")(?:\s[^<>]*)?>|\[THINK\]|◁think▷"
    r"|<[|｜](?:think(?:ing)?|begin_?of_?thought|thought_begin|start_of_reasoning)[|｜]>",
    re.IGNORECASE,
)
BEGINS_TURN = re.compile(
    r"<[|｜](?:start|im_start|channel|start_header_id|assistant)[|｜]>|<start_of_turn>|</(?:"
    + "|".join(RESULTS)
    + r")>|\[/(?:TOOL_RESULTS|INST|AVAILABLE_TOOLS)\]",
    re.IGNORECASE,
)
"""Ends what belongs to another role."""
ENDS_TURN = r"<[|｜](?:call|end|return|im_end|eot_id|eom_id|endoftext|end▁of▁sentence|start)[|｜]>|</s>|<end_of_turn>"


class Kind(Enum):
    THOUGHT = auto()
    THOUGHT_ENDS = auto()
    CALL = auto()
    RESULT = auto()
    CHANNEL = auto()
    """The head of a message follows, up to another mark."""
    ROLE = auto()
    """A role follows, up to the end of its line."""
    NOTHING = auto()
    """It is left out, and what follows is as it was."""


@dataclass(frozen=True, slots=True)
class MarkupMark:
    """`ends` finds the end of a call; `prefix` belongs before its text, where the mark holds the tool's name."""

    text: str
    kind: Kind
    ends: re.Pattern[str] | None = None
    prefix: str = ""


def mark_at_start(text: str) -> MarkupMark | None:
    """The mark that the text begins with."""
    if (tag := _TAG.match(text)) is not None:
        return _of_tag(tag)
    if (bar := _BAR.match(text)) is not None:
        return _of_bar(bar)
    if (half := _HALF_BAR.match(text)) is not None:
        return MarkupMark(half[0], Kind.NOTHING if half[1] == "tool_call" else Kind.THOUGHT_ENDS)
    if (bracket := _BRACKET.match(text)) is not None:
        return _of_bracket(bracket)
    if (triangle := _TRIANGLE.match(text)) is not None:
        return MarkupMark(triangle[0], Kind.THOUGHT_ENDS if triangle[1] else Kind.THOUGHT)
    return None


def may_become_mark(text: str) -> bool:
    """Whether the text may be the beginning of a mark that is still to be written to its end."""
    if text.startswith("["):
        return any(mark.startswith(text) for mark in _WRITTEN_BRACKETS)
    if text.startswith("◁"):
        return any(mark.startswith(text) for mark in _WRITTEN_TRIANGLES)
    if not text.startswith("<") or ">" in text or "<" in text[1:]:
        return False
    if text in ("<", "</"):
        return True
    if text[1] in "|｜":
        return len(text) <= MOST_MARK and "\n" not in text
    found = _PARTIAL_TAG.fullmatch(text)
    if found is None or found[1] is None:
        return False
    name = found[1].lower()
    if not found[2]:
        return any(known.startswith(name) for known in (*_NAMES, *_HALF_BARS))
    if found[2] in ("|", "｜"):
        return name in _HALF_BARS
    return name in _NAMES and found[2][0] in " =\t/" and len(text) <= 4 * MOST_MARK


def held_back(text: str) -> int:
    """How many characters at the end of the text may be the beginning of a mark."""
    start = max(text.rfind("<"), text.rfind("["), text.rfind("◁"))
    return len(text) - start if start >= 0 and may_become_mark(text[start:]) else 0


def _of_tag(tag: re.Match[str]) -> MarkupMark | None:
    closing, name, more, alone = tag[1], tag[2].lower(), (tag[3] or "").strip(), tag[4]
    if name in THOUGHTS:
        return MarkupMark(tag[0], Kind.THOUGHT_ENDS if closing else Kind.NOTHING if alone else Kind.THOUGHT)
    if name in CALLS:
        if closing or alone:
            return MarkupMark(tag[0], Kind.NOTHING)
        ends = re.compile(rf"</\s*{re.escape(tag[2])}\s*>|(?=<{re.escape(tag[2])}\b)|(?={ENDS_TURN})", re.IGNORECASE)
        return MarkupMark(tag[0], Kind.CALL, ends, tag[0] if name in NAMED_CALLS else "")
    if name in RESULTS:
        return MarkupMark(tag[0], Kind.NOTHING if closing else Kind.RESULT)
    if name == "start_of_turn":
        return MarkupMark(tag[0], Kind.ROLE)
    if name in WRAPPERS and (not more or name == "parameter"):
        return MarkupMark(tag[0], Kind.NOTHING)
    return None


def _of_bar(bar: re.Match[str]) -> MarkupMark:
    """`<|…|>`: a mark of a template, whichever; also where the bars are DeepSeek's wide ones."""
    word = bar[1].strip().lower().replace("▁", "_")
    whole = bar[0].endswith(("|>", "｜>"))
    ending = word.startswith(("/", "end", "eot")) or word.endswith("_end")
    if word == "channel":
        return MarkupMark(bar[0], Kind.CHANNEL if whole else Kind.THOUGHT)  # the latter is Gemma's
    if word in ("start", "start_header_id"):
        return MarkupMark(bar[0], Kind.CHANNEL)
    if word == "im_start":
        return MarkupMark(bar[0], Kind.ROLE)
    if word in ("user", "system", "observation", "human"):
        return MarkupMark(bar[0], Kind.RESULT)
    if "think" in word or "thought" in word or word == "start_of_reasoning":
        return MarkupMark(bar[0], Kind.THOUGHT_ENDS if ending else Kind.THOUGHT)
    if re.match(r"(?:/|end_)?(?:tool_?call|tool_calls|function_?call)|python_tag|action_start", word):
        if ending:
            return MarkupMark(bar[0], Kind.NOTHING)
        ends = (
            r"<[|｜]tool[▁_]calls(?:_section)?[▁_]end[|｜]>"
            if re.search(r"calls_(section_)?begin", word)
            else (r"<[|｜](?:/tool_?calls?|end_?tool_?calls?|tool[▁_]call[▁_]end|action_end)[|｜]>|<tool_call[|｜]>")
        )
        return MarkupMark(bar[0], Kind.CALL, re.compile(f"{ends}|(?={ENDS_TURN})"))
    return MarkupMark(bar[0], Kind.NOTHING)


def _of_bracket(bracket: re.Match[str]) -> MarkupMark:
    match bracket[2], bracket[1]:
        case "THINK", "":
            return MarkupMark(bracket[0], Kind.THOUGHT)
        case "THINK", _:
            return MarkupMark(bracket[0], Kind.THOUGHT_ENDS)
        case "TOOL_CALLS", "":
            return MarkupMark(bracket[0], Kind.CALL, re.compile(rf"\[/TOOL_CALLS\]|(?={ENDS_TURN})"))
        case (("TOOL_RESULTS" | "AVAILABLE_TOOLS" | "INST"), ""):
            return MarkupMark(bracket[0], Kind.RESULT)
        case _:
            return MarkupMark(bracket[0], Kind.NOTHING)
