"""The world's scripts as far as a voice must know them: which characters end a clause, how long one lasts aloud."""

import unicodedata
from bisect import bisect_right
from enum import Enum

SENTENCE_ENDS = frozenset("。！？｡．…।॥؟۔։።፧॥။។៕᙮།‼⁇⁈⁉⸮")
"""Marks that end a sentence in any script, whatever follows them."""

CLAUSE_ENDS = frozenset("，、；：､—،؛፣፤፥၊՝・")
"""Marks after which a voice may pause, whatever follows them."""

ASCII_ENDS = frozenset(".!?;:,")
"""Marks that also stand inside numbers, addresses and names: they end a clause only before a space or a wide letter."""

CLOSERS = frozenset("\"'”’»›)]}）］｝」』】》〉〕〗*_~`")
"""What may stand between a mark and the end of its clause: quotes, brackets, markup."""

_WIDE_EDGES = (
    *(0x1100, 0x1200),  # Hangul letters
    *(0x2E80, 0x2FE0),  # radicals
    *(0x3005, 0x3008),
    *(0x3021, 0x302A),
    *(0x3040, 0x3130),  # kana, bopomofo
    *(0x31A0, 0x31C0),
    *(0x31F0, 0x3200),
    *(0x3400, 0x4DC0),
    *(0x4E00, 0xA000),
    *(0xA960, 0xA980),
    *(0xAC00, 0xD800),  # Hangul syllables
    *(0xF900, 0xFB00),
    *(0xFF66, 0xFF9E),
    *(0x20000, 0x40000),
)
"""Where the letters of Chinese, Japanese and Korean begin and end, in turn."""

JOINER = "\u200d"
"""Makes one emoji of two, and joins letters in some scripts."""

WIDE_WEIGHT = 3
"""A Chinese, Japanese or Korean character lasts about as long aloud as three Latin letters (5 against 15 a second)."""


class Break(Enum):
    """What a mark lets a voice do."""

    NONE = 0
    PAUSE = 1
    SENTENCE = 2


def break_of(mark: str) -> Break:
    """What a character would end, were it at the end of something."""
    if mark in SENTENCE_ENDS or mark in ".!?":
        return Break.SENTENCE
    if mark in CLAUSE_ENDS or mark in ";:,":
        return Break.PAUSE
    return Break.NONE


def extends(char: str) -> bool:
    """Whether it belongs to the character before it: accents, vowel signs, joiners, emoji variants."""
    return char > "\u02ff" and (
        unicodedata.category(char) in ("Mn", "Mc", "Me") or char == JOINER or "🏻" <= char <= "🏿"
    )


def is_wide(char: str) -> bool:
    """Whether this is a letter of Chinese, Japanese or Korean."""
    return bisect_right(_WIDE_EDGES, ord(char)) % 2 == 1


def weight(char: str) -> int:
    """How long a character lasts aloud, in Latin letters."""
    return WIDE_WEIGHT if is_wide(char) else 1


def has_speech(text: str) -> bool:
    """Whether there is anything in it that a voice could say: a letter or a digit of any script."""
    return any(char.isalnum() for char in text)
