"""Resumption of an answer that broke off, at another endpoint, so that no word is heard twice and none is lost.

The other model is asked to begin with the last words that were said, and those are cut off again: so it is certain
where its words join on, where a space belongs, and how a word that broke in its middle ends. The words are so many that
they stand only once in what was said. A model that does as it likes instead is met half-way: if it repeats more, even
all, that is cut off too; if it just goes on, its words are joined as they are.

Texts are compared by their letters, digits and signs alone; case, spaces and punctuation do not count. In scripts
without spaces (Chinese, Japanese, Thai …) a word may begin at any character, and two of them count as a word.
"""

import unicodedata
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from voiceagent.llm.base import LlmRequest, Message

ANCHOR_WORDS = 3.0
LEAST_REPEATED = {"instruction": 1.0, "prefix": 3.0}
"""Words that the rest must have in common with the end of what was said to be taken for a repetition. A model that was
told to repeat nearly always does; one that has the answer as its own prefix hardly ever."""
ONLY_REPEATED = 3.0
"""A rest of so many words, all of them a part of what was said, is left out: the model began again and stopped."""

INSTRUCTION = (
    "Your last message broke off in transmission. Send the rest of it. Begin with its last words, exactly as they "
    "stand between these marks, complete the last word if it is cut, and go on from there without any other remark: "
    "«{anchor}»"
)
INSTRUCTION_ZH = (
    "你的上一条消息在传输中断开了，请把剩下的部分发完。请先原样重复下面括号中的最后几个字（最后一个词不完整的话请补全），"
    "然后直接接着说下去，不要加任何别的话：【{anchor}】"
)

Mode = Literal["instruction", "prefix"]

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # 々 〆 〇
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF))
_INSIDE_WORDS = ("'", "’", "-", ".", ",")


def continuation(request: LlmRequest, said: str, mode: Mode) -> LlmRequest:
    """The request that asks for the rest of an answer of which `said` was received."""
    if not _Letters(said).text:
        return request
    if mode == "prefix":  # a space at the end is refused by some servers, and makes others split the next word badly
        return replace(request, messages=(*request.messages, Message("assistant", said.rstrip())))
    instruction = (INSTRUCTION_ZH if _chinese(said) else INSTRUCTION).format(anchor=anchor(said))
    return replace(request, messages=(*request.messages, Message("assistant", said), Message("user", instruction)))


def anchor(said: str) -> str:
    """The last words: at least three, and so many that they stand nowhere else in `said`."""
    letters = _Letters(said)
    words = 0.0
    for start in reversed(letters.starts):
        words += letters.weight(start)
        if words >= ANCHOR_WORDS and letters.text.find(letters.text[start:]) == start:
            return said[letters.places[start] :].strip()
    return said.strip()


class Joint:
    """Takes the rest of an answer in pieces and gives what of it is new. Text is held back only while it may still be a
    repetition of what was said."""

    def __init__(self, said: str, mode: Mode = "instruction") -> None:
        self._said = said
        self._mode = mode
        self._letters = _Letters(said)
        self._alive = list(self._letters.starts)
        """Where in the said the rest may have begun again, as far as is known yet."""
        self._held = ""
        self._compared = 0
        self._matched = 0
        """How many letters of the rest were compared."""
        self._repeated = 0
        """How much of `_held` is known for a repetition."""
        self._doubtful = 0
        """The same, if only the word ends here."""
        self._eating = said[self._letters.places[-1] + 1 :] if self._letters.text else said
        """What follows the last letter in the said and may come once more."""
        self._open = bool(self._letters.text)

    def push(self, text: str) -> str:
        """More of the rest; returns what is surely new."""
        if not self._open:
            return self._without_tail(text)
        self._held += text
        while self._compared < len(self._held):
            if not self._compare(self._held[self._compared]):
                return self._join()
            self._compared += 1
        return ""

    def finish(self) -> str:
        """What was held back, once the rest has ended."""
        if not self._open:
            return ""
        self._repeated = self._doubtful or self._repeated
        if not self._repeated and self._alive and _Letters(self._held).words(0) >= ONLY_REPEATED:
            return ""
        return self._join()

    def _compare(self, char: str) -> bool:
        """One more character of the rest. Returns whether it may still be a repetition."""
        letter = _letter(char)
        if letter is None:
            self._repeated, self._doubtful = self._doubtful or self._repeated, 0
            return bool(self._alive)
        said, matched = self._letters.text, self._matched
        self._doubtful = 0
        self._alive = [
            start for start in self._alive if start + matched < len(said) and said[start + matched] == letter
        ]
        self._matched += 1
        if self._alive and self._alive[-1] + self._matched == len(said):
            self._complete(self._alive.pop())
            return bool(self._alive or self._doubtful)
        return bool(self._alive)

    def _complete(self, start: int) -> None:
        """The rest has repeated the said from there to its end."""
        words = self._letters.words(start)
        told = start == 0 and self._mode == "instruction"
        if words < LEAST_REPEATED[self._mode] and not told:
            return
        if words <= 1 and not told and not _unspaced(self._letters.text[-1]):
            self._doubtful = self._compared + 1  # "a" may be the beginning of "apple"
        else:
            self._repeated = self._compared + 1

    def _join(self) -> str:
        self._open = False
        rest = self._held[self._repeated :]
        if self._repeated:
            return self._without_tail(rest)
        self._eating = ""
        if self._mode == "prefix":
            return rest.lstrip() if self._said[-1:].isspace() else rest
        rest = rest.lstrip().removeprefix("…").removeprefix("...").lstrip()
        return f" {rest}" if _space_between(self._said, rest) else rest

    def _without_tail(self, text: str) -> str:
        """What comes after a repetition, without the spaces and punctuation that were said."""
        while text and self._eating:
            if text[0] != self._eating[0]:
                text = text.lstrip() if self._eating[-1].isspace() else text
                self._eating = "" if text else self._eating
                break
            text, self._eating = text[1:], self._eating[1:]
        return text


@dataclass(frozen=True)
class _Letters:
    """A text's letters alone, in small, and where each stands in it."""

    said: str

    @cached_property
    def _found(self) -> list[tuple[str, int]]:
        return [(letter, place) for place, char in enumerate(self.said) if (letter := _letter(char)) is not None]

    @cached_property
    def text(self) -> str:
        return "".join(letter for letter, _ in self._found)

    @cached_property
    def places(self) -> list[int]:
        return [place for _, place in self._found]

    @cached_property
    def starts(self) -> list[int]:
        """The letters with which a word begins."""
        return [at for at in range(len(self.text)) if self._begins_word(at)]

    def words(self, start: int) -> float:
        """How many words begin at that letter or after it."""
        return sum(self.weight(at) for at in self.starts if at >= start)

    def weight(self, start: int) -> float:
        """What the word that begins there counts: a character of a script without spaces is half a word."""
        return 0.5 if _unspaced(self.text[start]) else 1.0

    def _begins_word(self, at: int) -> bool:
        if at == 0 or _unspaced(self.text[at]) or _unspaced(self.text[at - 1]):
            return True
        between = self.said[self.places[at - 1] + 1 : self.places[at]]
        return between != "" and between not in _INSIDE_WORDS


def _letter(char: str) -> str | None:
    """The character as it is compared; None for spaces, punctuation and what cannot be seen."""
    if unicodedata.category(char)[0] in "PZC":
        return None
    small = char.lower()
    return small if len(small) == 1 else char


def _space_between(said: str, rest: str) -> bool:
    last, first = said[-1:], rest[:1]
    if not last or not first or last.isspace() or _letter(first) is None or _unspaced(first):
        return False
    wide = unicodedata.east_asian_width(last) in "WF"
    return not wide and not _unspaced(last) and unicodedata.category(last) not in ("Ps", "Pi")


def _chinese(text: str) -> bool:
    """Rather than Japanese, which has kana between its Han."""
    if text.isascii() or any("\u3040" <= char <= "\u30ff" for char in text):
        return False
    return any(_within(char, _HAN) for char in text)


def _unspaced(char: str) -> bool:
    return not char.isascii() and _within(char, _UNSPACED)


def _within(char: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= ord(char) <= high for low, high in ranges)
