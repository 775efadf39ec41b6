"""Filter for what models write that is not for the ear: thoughts, channels, marks of the template, calls as text.

It goes through an answer's text in pieces of any size by the marks of `marks.py`. Text is held back only while it may
still turn out to be a mark, or within what is read as a whole: calls, the heads of channels, blocks of code that may be
calls, and the beginning of an answer that may all be thought.
"""

import json
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from voiceagent.llm.dialects.marks import (
    BEGINS_TURN,
    CLOSES_THOUGHT,
    ENDS_TURN,
    MOST_MARK,
    OPENS_THOUGHT,
    STARTS,
    Kind,
    MarkupMark,
    held_back,
    mark_at_start,
    may_become_mark,
)
from voiceagent.llm.dialects.text_calls import WrittenCall, calls_in, calls_of_json

SHORT_TAG = len("<tool_call")
MOST_HEAD = 200
"""Characters of a channel's head."""
MOST_HELD = 50_000
"""Characters of a call or of a doubtful beginning; what is longer is none."""

_ENDS_CHANNEL = re.compile(ENDS_TURN + r"|<[|｜]channel[|｜]>")
_ENDS_HEAD = re.compile(r"<[|｜](message|end|return|call|end_header_id|im_sep)[|｜]>")
_ROLE = re.compile(
    r"[ \t]*(assistant|model|user|system|tool|developer|human|function|ipython)?(?:[ \t]*\r?\n|(?=<)|\Z)"
)
_PARTIAL_ROLE = re.compile(r"[ \t]*[a-z]{0,9}[ \t]*\r?")

_CALL_FENCES = ("tool_call", "tool_calls", "tool_code", "tool_use", "tool", "function_call", "function")
_JSON_FENCES = ("", "json", "javascript", "js")
_TAGGED_CALL = re.compile(r"<(?:tool_call|function|invoke)")
_FENCE = re.compile(r"```[ \t]*([\w-]{0,20})[ \t]*(\r?\n)?\s*")

_CALL_KEYS = (
    "name", "type", "id", "tool", "tool_name", "function", "function_name", "recipient_name", "arguments", "parameters",
    "tool_call", "tool_calls", "tool_uses", "function_call",
)  # fmt: skip
_FIRST_KEY = re.compile(r'[\[\s]*\{\s*"(\w*)("?)')
_BEGINS_OBJECT = re.compile(r"[\[\s]*\{?\s*")
_CUT_CALL = re.compile(r'"(?:name|tool|function)"\s*:.*"(?:arguments|parameters|args|input)"\s*:', re.DOTALL)

_INTERJECTION = re.compile(r"(?i)\s*(?:ok(?:ay)?|alright|hmm+|好的?|嗯)[,.!，。]?\s*(?:so,?\s+)?")
_INTERJECTIONS = ("okay, so ", "alright, so ", "hmm, ", "ok, so ", "好的，", "嗯，")
_ABOUT_USER = ("the user ", "the user's ", "the user'", "user asks", "user says", "user wants", "user is ", "用户")
_NOT_ABOUT_USER = re.compile(r"(?i)the user(?:'s)? (?:manual|guide|interface|name|account|id|agreement)\b")
"""A model that speaks of its user in the third person is thinking."""
_BARE_HEAD = re.compile(r"\s*(?:analysis|commentary|final)(?=<[|｜](?:message|channel)[|｜]>)")
_HEADS = ("analysis", "commentary<", "final<")
_PARTIAL_HEAD = re.compile(r"(?:analysis|commentary|final)(?:<[|｜]?\w*[|｜]?)?")
_BARE_ANALYSIS = re.compile(r"\s*analysis(?=[A-Z])")
_BARE_FINAL = re.compile(r"assistant(?:commentary)?final")
"""Harmony's channels where a server left out the marks."""


class Split(NamedTuple):
    spoken: str
    thought: str


@dataclass(slots=True)
class Habits:
    """What is known of a model from its earlier answers: that it `begins_in_thought`, as its template writes the
    opening tag of its thoughts, so that only the closing one comes."""

    begins_in_thought: bool = False


class _State(Enum):
    START = auto()
    """Nothing but white space was read yet."""
    DOUBT = auto()
    """All may be thought, up to a closing tag."""
    SPOKEN = auto()
    THOUGHT = auto()
    CHANNEL = auto()
    """A thought that ends with its message."""
    CALL = auto()
    FENCE = auto()
    """A block of code that may be a call."""
    HEAD = auto()
    ROLE = auto()
    NOBODY = auto()
    """Another role's words, or a made-up result."""


class MarkupFilter:
    """`calls` are those that were written as text, in their order; all of them are known once it is finished."""

    def __init__(self, habits: Habits | None = None) -> None:
        self.calls: list[WrittenCall] = []
        self._habits = habits or Habits()
        self._state = _State.START
        self._held = ""
        self._spoken = self._thought = ""
        """What this push has found."""
        self._said = False
        """Whether an earlier push has given words to be spoken."""
        self._trim = False
        """White space that follows belongs to what was left out before it."""
        self._apart = False
        """The server sends thoughts apart from the text."""
        self._opened = ""
        """What is put before a call's text to read it; a fence as it was written."""
        self._ends = CLOSES_THOUGHT
        """What ends a call."""
        self._doubts = True
        """The beginning may still be taken for a thought."""

    @property
    def reads_whole(self) -> bool:
        """Text is held back until something is there as a whole, which may take long."""
        return self._state in (_State.DOUBT, _State.CALL, _State.FENCE, _State.NOBODY)

    def thought_apart(self) -> None:
        """The server has sent a thought in a field of its own, so none is in the text without a tag."""
        self._apart, self._doubts = True, False
        if self._state is _State.DOUBT:
            self._state = _State.START

    def push(self, text: str) -> Split:
        """The part of all text so far that is now known to be spoken, and what is known to be thought."""
        self._held += text
        return self._read(last=False)

    def finish(self) -> Split:
        """What was held back and, at the end of the text, is no mark after all."""
        found = self._read(last=True)
        if self._state is _State.DOUBT:  # no closing tag has come: it was the answer
            self._habits.begins_in_thought, self._doubts = False, False
            self._state = _State.START
            found = self._read(last=True)
        return found

    def break_off(self) -> Split:
        """What was held back, where the answer breaks off: no thought and no call is made of what is not whole."""
        held, self._held = self._held, ""
        return Split(
            held if self._state in (_State.START, _State.SPOKEN) and not held.lstrip().startswith("{") else "", ""
        )

    def _read(self, *, last: bool) -> Split:
        self._spoken = self._thought = ""
        while self._held and self._step(last):
            pass
        if last:
            self._end()
        self._said = self._said or bool(self._spoken.strip())
        return Split(self._spoken, self._thought)

    def _end(self) -> None:
        held = self._held
        match self._state:
            case _State.DOUBT:
                return
            case _State.START | _State.SPOKEN:
                self._speak(held)
            case _State.THOUGHT | _State.CHANNEL:
                self._thought += held
            case _State.CALL:
                self.calls += calls_in(self._opened + held)
            case _State.FENCE:
                self._close_fence(held, "")
            case _State.ROLE if not _PARTIAL_ROLE.fullmatch(held):
                self._speak(held)
        self._held = ""

    def _step(self, last: bool) -> bool:
        """Read one thing; False where that takes more text."""
        match self._state:
            case _State.START:
                return self._start(last)
            case _State.DOUBT:
                return self._doubt()
            case _State.SPOKEN:
                return self._speech(last)
            case _State.THOUGHT | _State.CHANNEL:
                return self._thinking(last)
            case _State.CALL:
                return self._call()
            case _State.FENCE:
                return self._fence()
            case _State.HEAD:
                return self._head()
            case _State.ROLE:
                return self._role(last)
            case _State.NOBODY:
                return self._nobody()

    # -- the beginning ------------------------------------------------------------------------------------------------

    def _start(self, last: bool) -> bool:
        text = self._held.lstrip()
        if not text:
            return False
        if self._habits.begins_in_thought and self._doubts:
            self._state = _State.DOUBT
            return True
        if text[0] in "{[" and not self._bare_call(text, last):
            return False
        if self._doubts and self._state is _State.START and self._held:
            if _BARE_HEAD.match(text):
                self._state = _State.HEAD
                return True
            if _BARE_ANALYSIS.match(text) or _speaks_of_user(text):
                self._state = _State.DOUBT
                return True
            if not last and _may_speak_of_user(text):
                return False
        if self._state is _State.START:
            self._state = _State.SPOKEN
        return True

    def _bare_call(self, text: str, last: bool) -> bool:
        """An answer that is a call's JSON and nothing else. Whether that is known."""
        if not _may_be_call(text):
            return True
        calls, rest = _leading_calls(text)
        if calls:
            self.calls += calls
            self._go(_State.SPOKEN, rest)
        elif last and _CUT_CALL.search(text):
            self._go(_State.SPOKEN, "")
        return bool(calls) or last or len(text) > MOST_HELD or _is_whole(text)

    def _doubt(self) -> bool:
        held = self._held
        closing = CLOSES_THOUGHT.search(held) or (_BARE_FINAL.search(held) if _BARE_ANALYSIS.match(held) else None)
        opening = OPENS_THOUGHT.search(held)
        if opening is not None and not held[: opening.start()].strip():  # this answer has its own opening
            self._habits.begins_in_thought = self._doubts = False
            self._go(_State.SPOKEN, held[opening.start() :])
        elif closing is not None:
            self._thought += held[: closing.start()]
            self._habits.begins_in_thought = not _BARE_FINAL.fullmatch(closing[0])
            self._doubts = False
            self._go(_State.SPOKEN, held[closing.end() :])
        elif len(held) > MOST_HELD or (_ENDS_CHANNEL.search(held) and "<|channel|>" in held):
            self._doubts = False
            self._state = _State.SPOKEN
        else:
            return False
        return True

    # -- speech and its marks -----------------------------------------------------------------------------------------

    def _speech(self, last: bool) -> bool:
        found = STARTS.search(self._held)
        if found is None:
            self._take(len(self._held))
            return False
        self._take(found.start())
        if self._held.startswith("`"):
            return self._backticks(last)
        if (mark := mark_at_start(self._held)) is not None:
            self._enter(mark)
            return True
        if not last and may_become_mark(self._held):
            return False
        self._take(1)
        return True

    def _take(self, count: int) -> None:
        self._speak(self._held[:count])
        self._held = self._held[count:]

    def _speak(self, text: str) -> None:
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        self._spoken += text

    def _go(self, state: _State, rest: str) -> None:
        """What was left out ends here, with the white space after it."""
        self._state, self._held, self._trim = state, rest, True

    def _enter(self, mark: MarkupMark) -> None:
        rest = self._held[len(mark.text) :]
        match mark.kind:
            case Kind.THOUGHT:
                self._go(_State.THOUGHT, rest)
            case Kind.THOUGHT_ENDS:
                self._lone_end(rest)
            case Kind.CALL:
                self._opened, self._ends = mark.prefix, mark.ends or self._ends
                self._go(_State.CALL, rest)
            case Kind.RESULT:
                self._go(_State.NOBODY, rest)
            case Kind.CHANNEL:
                self._go(_State.HEAD, rest)
            case Kind.ROLE:
                self._go(_State.ROLE, rest)
            case Kind.NOTHING:
                self._trim = self._trim or mark.text[1] in "|｜" or not (self._said or self._spoken.strip())
                self._held = rest

    def _lone_end(self, rest: str) -> None:
        """Of thoughts whose beginning was not marked: of what was not given away yet, all was thought; the model's next
        answer begins in doubt."""
        if not self._said:
            self._thought += self._spoken
            self._spoken = ""
        self._habits.begins_in_thought = not self._apart
        self._go(_State.SPOKEN, rest)

    def _backticks(self, last: bool) -> bool:
        """A block of code is read as a whole where it may be a call."""
        found = _FENCE.match(self._held)
        if found is None:
            if not last and "```".startswith(self._held):
                return False
            self._take(1)
            return True
        body = self._held[found.end() :]
        if not last and (not body or (body[0] == "<" and len(body) < SHORT_TAG)) and len(self._held) < MOST_MARK:
            return False
        info = found[1].lower()
        if info in _CALL_FENCES or (info in _JSON_FENCES and body[:1] in ("{", "[")) or _TAGGED_CALL.match(body):
            self._opened, self._held, self._state = found[0], body, _State.FENCE
        else:
            self._take(found.end())
        return True

    # -- what is left out ---------------------------------------------------------------------------------------------

    def _thinking(self, last: bool) -> bool:
        held = self._held
        closing = CLOSES_THOUGHT.search(held)
        turn = _ENDS_CHANNEL.search(held) if self._state is _State.CHANNEL else None
        if closing is not None and (turn is None or closing.start() < turn.start()):
            self._thought += held[: closing.start()]
            self._go(_State.SPOKEN, held[closing.end() :])
            return True
        if turn is not None:
            self._thought += held[: turn.start()]
            self._go(_State.SPOKEN, held[turn.start() :])
            return True
        known = len(held) - (0 if last else held_back(held))
        self._thought += held[:known]
        self._held = held[known:]
        return False

    def _call(self) -> bool:
        end = self._ends.search(self._held)
        if end is None:
            if len(self._held) > MOST_HELD:
                self._go(_State.NOBODY, "")
            return False
        self.calls += calls_in(self._opened + self._held[: end.start()])
        self._go(_State.SPOKEN, self._held[end.end() :])
        return True

    def _fence(self) -> bool:
        end = self._held.find("```")
        if end < 0:
            return False
        self._state = _State.SPOKEN
        body, self._held = self._held[:end], self._held[end + 3 :]
        self._close_fence(body, "```")
        return True

    def _close_fence(self, body: str, closing: str) -> None:
        """A call is made or left out, other code stays in the text."""
        found = _FENCE.match(self._opened)
        is_call = _TAGGED_CALL.match(body) or (found is not None and found[1].lower() in _CALL_FENCES)
        calls = calls_in(body) if is_call else calls_of_json(body)
        if calls or is_call or (not closing and _CUT_CALL.search(body)):
            self.calls += calls or []
            self._trim = True
        else:
            self._speak(self._opened + body + closing)

    def _head(self) -> bool:
        """Of a channel: what is for a function is a call, what is `analysis` a thought, the rest is spoken."""
        found = _ENDS_HEAD.search(self._held)
        if found is None:
            if len(self._held) > MOST_HEAD:
                self._state = _State.SPOKEN
                return True
            return False
        head, rest = self._held[: found.start()], self._held[found.end() :]
        recipient = re.search(r"\bto=(?:functions?\.)?([\w.-]+)", head)
        if re.match(r"\s*(?:user|system|tool|developer|function|ipython)", head):
            self._go(_State.NOBODY, rest)
        elif recipient is not None and recipient[1] not in ("user", "all", "assistant"):
            self._opened, self._ends = f"{recipient[1]} ", re.compile(ENDS_TURN)
            self._go(_State.CALL, rest)
        elif re.search(r"analysis|think|thought", head):
            self._go(_State.CHANNEL, rest)
        else:
            self._go(_State.SPOKEN, rest)
        return True

    def _role(self, last: bool) -> bool:
        found = _ROLE.match(self._held)
        if not last and _PARTIAL_ROLE.fullmatch(self._held):
            return False
        role = found[1] if found is not None else None
        end = found.end() if found is not None else 0
        self._go(_State.SPOKEN if role in (None, "assistant", "model") else _State.NOBODY, self._held[end:])
        return True

    def _nobody(self) -> bool:
        found = BEGINS_TURN.search(self._held)
        if found is None:
            self._held = self._held[-MOST_MARK:]
            return False
        closes = found[0].startswith(("</", "[/"))
        self._go(_State.SPOKEN, self._held[found.end() if closes else found.start() :])
        return True


def _speaks_of_user(text: str) -> bool:
    rest = _INTERJECTION.sub("", text, count=1).lower().lstrip()
    return rest.startswith(_ABOUT_USER) and not _NOT_ABOUT_USER.match(rest)


def _may_speak_of_user(text: str) -> bool:
    """Whether a few more characters may show it."""
    small = text.lower()
    if any(one.startswith(small) for one in _INTERJECTIONS):
        return True
    rest = _INTERJECTION.sub("", small, count=1).lstrip()
    return any(one.startswith(rest) for one in (*_ABOUT_USER, *_HEADS)) or _PARTIAL_HEAD.fullmatch(small) is not None


def _may_be_call(text: str) -> bool:
    """Whether a text may be the JSON of a call, by its first key."""
    found = _FIRST_KEY.match(text)
    if found is None:
        return _BEGINS_OBJECT.fullmatch(text) is not None
    return found[1] in _CALL_KEYS if found[2] else any(key.startswith(found[1]) for key in _CALL_KEYS)


def _leading_calls(text: str) -> tuple[list[WrittenCall], str]:
    """The calls whose JSON the text begins with, and what follows them."""
    calls: list[WrittenCall] = []
    rest = text
    while rest[:1] in ("{", "["):
        try:
            _, end = json.JSONDecoder(strict=False).raw_decode(rest)
        except (ValueError, RecursionError):
            break
        if (found := calls_of_json(rest[:end])) is None:
            break
        calls += found
        rest = rest[end:].lstrip(" \t\r\n,;")
    return calls, rest


def _is_whole(text: str) -> bool:
    try:
        json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return True
