"""Text as it streams from a model, cut into pieces that a voice can speak.

The first piece is short, so that speech starts early; each later one may be as long as all that was said before it,
since the listener is busy for that long, up to a length that lets the voice speak whole sentences with good prosody.

The splitter looks at one character after another and never at how they were delivered, so the cuts do not depend on it.
"""

import re
from dataclasses import dataclass

from voiceagent.tts.abbreviations import Verdict, verdict
from voiceagent.tts.enclosures import Enclosures
from voiceagent.tts.scripts import ASCII_ENDS, CLOSERS, JOINER, Break, break_of, extends, is_wide, weight
from voiceagent.tts.speakable import speakable

_OPENERS = frozenset("“«‹([{（［｛「『【《〈〔〖")
_SURE_ENDS = frozenset("。，、；")
"""Wide marks that are not repeated: the cut need not wait for the next character, unless a quote is open."""

_LONGEST_ABBREVIATION = 12
_LONGEST_ENTITY = 10
_ENTITY = re.compile(r"&(?:#x?)?[0-9A-Za-z]+$")
"""&amp; before its semicolon."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece to speak. `text` is the model's own, so that all clauses' texts together are exactly what was pushed;
    `spoken` is what the voice is given, '' when there is nothing to say."""

    text: str
    spoken: str


class ClauseSplitter:
    """Cuts one stream of text. Lengths are in Latin letters; a Chinese, Japanese or Korean character counts as three.

    `first_chars`: without any punctuation the first clause ends at a word after so many. `target_chars`: sentences are
    merged until a clause has so many. `limit_chars`: no clause is longer; one nearing it ends at a comma, else at a
    space, else anywhere but inside a composed character. Memory is bounded by the limit, time is linear in the text.
    """

    def __init__(self, first_chars: int = 60, target_chars: int = 120, limit_chars: int = 240) -> None:
        if not 0 < first_chars <= target_chars < limit_chars:
            raise ValueError("lengths must grow: 0 < first_chars <= target_chars < limit_chars")
        self._first = first_chars
        self._target = target_chars
        self._limit = limit_chars
        self._reset()

    def push(self, delta: str) -> list[Clause]:
        """Take more text; returns the clauses that are now complete."""
        out: list[Clause] = []
        for char in delta:
            self._take(char, out)
        return out

    def flush(self) -> list[Clause]:
        """The text is over: returns what is left of it. The splitter may then be used for another text."""
        out: list[Clause] = []
        self._cut(len(self._text), out)
        self._reset()
        return out

    def _reset(self) -> None:
        self._emitted = 0  # weight of the clauses that had something to say
        self._text: list[str] = []
        self._fenced: list[bool] = []  # beside _text: whether the character is fenced code, which is not spoken
        self._weight = 0
        self._said = 0  # the same without fenced code
        self._words = 0.0
        self._in_word = False
        self._last_pause = 0  # where the clause could be cut should it grow too long; 0 is nowhere
        self._last_space = 0
        self._line_start = 0
        self._enclosures = Enclosures()
        self._brackets = 0
        self._quotes = 0
        self._awaited: Verdict | None = None

    def _take(self, char: str, out: list[Clause]) -> None:
        if char.isspace():
            self._take_space(char, out)
            return
        if self._break_before(char) or self._word_is_late(char):
            self._cut(len(self._text), out)
        self._note_markup(char, out)
        self._append(char, out)
        if char in _SURE_ENDS and not self._quotes and not self._follows_digit() and self._wants(break_of(char)):
            self._cut(len(self._text), out)

    def _take_space(self, char: str, out: list[Clause]) -> None:
        begins_space = bool(self._text) and not self._text[-1].isspace()
        self._enclosures.push(char)
        found = self._break_at_end(char) if begins_space else Break.NONE
        ends_word = begins_space and self._text[-1] != "." and not self._text[-1].isdecimal()
        after_figure = bool(self._text) and self._text[-1].isdecimal()
        self._append(char, out)
        if not after_figure:  # a number in groups, or with its unit, stays together
            self._last_space = len(self._text)
        if char == "\n":
            found = Break.SENTENCE
            self._awaited = None
            self._brackets = self._quotes = 0
            self._line_start = len(self._text)
        if found is not Break.NONE:
            self._last_pause = len(self._text)
        if self._wants(found) or (ends_word and self._is_late()):
            self._cut(len(self._text), out)

    def _append(self, char: str, out: list[Clause]) -> None:
        """Room for the character is made first: no clause is ever longer than the limit."""
        size = weight(char)
        while self._weight + size > self._limit:
            self._cut(self._best_cut(char), out)
        self._text.append(char)
        self._fenced.append(self._enclosures.in_fence)
        self._weight += size
        if not self._enclosures.in_fence:
            self._said += size
            self._count_word(char)

    def _count_word(self, char: str) -> None:
        if not char.isalnum():
            self._in_word = self._in_word and not char.isspace()
            return
        if is_wide(char):
            self._words += 0.5
            self._in_word = False
        elif not self._in_word:
            self._words += 1
            self._in_word = True

    def _note_markup(self, char: str, out: list[Clause]) -> None:
        """Keep track of what no clause should end inside of: code, the text of a link; and of open quotes."""
        if self._enclosures.push(char) and self._line_start > 0 and self._words:
            self._cut(self._line_start, out)
        if char == "[":
            self._brackets += 1
        elif char == "]":
            self._brackets = max(0, self._brackets - 1)
        if char == '"':
            self._quotes = 0 if self._quotes else 1
        elif char in _OPENERS:
            self._quotes += 1
        elif char in CLOSERS:
            self._quotes = max(0, self._quotes - 1)

    def _break_before(self, char: str) -> bool:
        """Whether the clause ends before this character, now that it is known."""
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            ends = not char.isdigit() if awaited == "unless_number" else char.isupper() or is_wide(char)
            found = Break.SENTENCE if ends else Break.NONE
        elif self._text and not self._text[-1].isspace() and _may_begin(char):
            found = self._break_at_end(char)
        else:
            return False
        if found is not Break.NONE:
            self._last_pause = len(self._text)
        return self._wants(found)

    def _break_at_end(self, following: str) -> Break:
        """Which break, if any, the text so far ends with; `following` is the character after it."""
        end = len(self._text) - 1
        while end >= 0 and (self._text[end] in CLOSERS or extends(self._text[end])):
            end -= 1
        if end < 0:
            return Break.NONE
        mark = self._text[end]
        before = self._text[end - 1] if end else ""
        if mark not in ASCII_ENDS:
            within_number = following.isdigit() and before.isdigit()
            dash = mark == "–" and before.isspace() and following.isspace() and not self._text[end - 2].isdecimal()
            return Break.PAUSE if dash else Break.NONE if within_number else break_of(mark)
        if not following.isspace() and not _wide_around(before, following):
            return Break.NONE
        if mark == ";" and _ENTITY.search("".join(self._text[max(0, end - _LONGEST_ENTITY) : end])):
            return Break.NONE
        if mark != "." or before == "." or not following.isspace():
            return break_of(mark)
        return self._full_stop(end)

    def _full_stop(self, end: int) -> Break:
        start = end
        while start > 0 and end - start < _LONGEST_ABBREVIATION and _of_word(self._text[start - 1]):
            start -= 1
        decision = verdict("".join(self._text[start:end]), after_break=self._follows_break(start))
        if decision in ("unless_number", "if_capital"):
            self._awaited = decision
        return Break.SENTENCE if decision == "ends" else Break.NONE

    def _follows_break(self, at: int) -> bool:
        """Whether what begins there begins a line or a sentence."""
        while at > 0 and (self._text[at - 1] in CLOSERS or self._text[at - 1] == " "):
            at -= 1
        return at == 0 or self._text[at - 1] == "\n" or break_of(self._text[at - 1]) is not Break.NONE

    def _wants(self, found: Break) -> bool:
        """Whether a clause that could end here should."""
        if not self._words or self._inside:
            return False
        match found:
            case Break.SENTENCE:
                return self._said >= min(self._target, self._emitted)
            case Break.PAUSE if self._emitted < self._first:
                return self._words >= 2 and self._said >= self._emitted
            case Break.PAUSE:
                return self._said >= (self._target + self._limit) // 2
            case Break.NONE:
                return False

    @property
    def _inside(self) -> bool:
        """Whether this is no place to end a clause."""
        return self._enclosures.inside or self._brackets > 0

    def _is_late(self) -> bool:
        """Whether speech has waited too long for a mark: then the first clauses end at a word."""
        return (
            self._emitted < self._first
            and self._words >= 2
            and self._said >= self._first + 2 * self._emitted
            and not self._inside
            and self._awaited is None
        )

    def _word_is_late(self, char: str) -> bool:
        """The same in a script without spaces: between two of its letters, later, since that may be inside a word."""
        return (
            self._said >= 2 * self._first
            and is_wide(char)
            and bool(self._text)
            and is_wide(self._text[-1])
            and self._is_late()
        )

    def _best_cut(self, char: str) -> int:
        """Where to cut a clause that is full: after a mark, else after a space, else before a whole character."""
        size = len(self._text)
        for at in (self._last_pause, self._last_space):
            if at > size // 3:  # what is left must not make the next clause full at once
                return at
        following = [*self._text, char]
        whole = (at for at in range(size, size // 2, -1) if not extends(following[at]) and following[at - 1] != JOINER)
        return next(whole, size)

    def _follows_digit(self) -> bool:
        return len(self._text) > 1 and self._text[-2].isdigit()

    def _cut(self, at: int, out: list[Clause]) -> None:
        """The first `at` characters become a clause; what is known of the line goes on."""
        if not at:
            return
        said = "".join(char for char, fenced in zip(self._text[:at], self._fenced[:at], strict=True) if not fenced)
        clause = Clause("".join(self._text[:at]), speakable(said))
        out.append(clause)
        self._emitted += sum(map(weight, clause.spoken))
        self._text, self._fenced = self._text[at:], self._fenced[at:]
        self._last_pause = max(0, self._last_pause - at)
        self._last_space = max(0, self._last_space - at)
        self._line_start -= at
        self._weight = sum(map(weight, self._text))
        self._said, self._words, self._in_word = 0, 0.0, False
        for char, fenced in zip(self._text, self._fenced, strict=True):
            if not fenced:
                self._said += weight(char)
                self._count_word(char)


def _may_begin(char: str) -> bool:
    """Whether a clause may begin with it: not with what belongs to the one before."""
    return char not in CLOSERS and break_of(char) is Break.NONE and not extends(char)


def _wide_around(before: str, following: str) -> bool:
    """Whether an ASCII mark without a space after it stands in Chinese text, not inside an address or a number."""
    return (
        is_wide(following) if not before or not is_wide(before) else not (following.isascii() and following.isalnum())
    )


def _of_word(char: str) -> bool:
    return char.isalnum() or char in ".'’-"
