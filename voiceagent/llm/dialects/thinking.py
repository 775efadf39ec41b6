"""Keeps a reasoning model's `<think>…</think>` out of what is spoken."""

from typing import NamedTuple

_OPEN, _CLOSE = "<think>", "</think>"


class Split(NamedTuple):
    spoken: str
    thought: str


class ThinkFilter:
    """Tells think blocks from text that arrives in pieces; the white space after a block belongs to neither. Text is
    held back only while it may still turn out to be the start of a tag."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._after_block = False

    def push(self, text: str) -> Split:
        """The part of all text so far that is now known to be spoken, and what is known to be thought."""
        spoken = thought = ""
        self._held += text
        while True:
            tag = _CLOSE if self._thinking else _OPEN
            before, found, after = self._held.partition(tag)
            if not found:
                break
            if self._thinking:
                thought += before
            else:
                spoken += self._outside(before)
            self._thinking = not self._thinking
            self._after_block = not self._thinking
            self._held = after
        keep = _start_of_tag(self._held, tag)
        known, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return Split(spoken, thought + known) if self._thinking else Split(spoken + self._outside(known), thought)

    def finish(self) -> Split:
        """What was held back and, at the end of the text, is no tag after all."""
        return Split("", self._held) if self._thinking else Split(self._outside(self._held), "")

    def _outside(self, text: str) -> str:
        if self._after_block:
            text = text.lstrip()
            self._after_block = not text
        return text


def _start_of_tag(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the start of `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:n])), 0)
