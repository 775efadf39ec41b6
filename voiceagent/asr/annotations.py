"""Annotations of recognisers: what they write where they heard no words, such as `[BLANK_AUDIO]`, `(music)` or `♪`."""

import re

_ANNOTATION = re.compile(
    r"\[[^\]]*(?:\]|$)|\([^)]*(?:\)|$)|<[^>]*(?:>|$)|\{[^}]*(?:\}|$)|\*[^*]*(?:\*|$)|（[^）]*(?:）|$)|［[^］]*(?:］|$)|【[^】]*(?:】|$)"
)


def has_words(transcript: str) -> bool:
    """Whether somebody said something: a letter or a digit of any script, outside of all brackets and stars. Marks,
    notes and emoji are no words."""
    return any(char.isalnum() for char in _ANNOTATION.sub(" ", transcript))
