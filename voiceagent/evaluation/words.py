"""Comparing words: what was said against what was understood."""

import re

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[a-z\u00c0-\u024f\u0370-\u052f]+(?:['’][a-z]+)*|[0-9]")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def words(text: str) -> list[str]:
    """In lower case without punctuation; Chinese and Japanese by characters, digits one by one as English words."""
    found: list[str] = _WORD.findall(text.lower())
    return [_DIGITS[int(word)] if word.isdecimal() else word.replace("’", "'") for word in found]


def distances(wanted: list[str], heard: list[str]) -> list[int]:
    """How many words must be changed, put in or left out to turn `heard` into the first 0, 1, 2 … of `wanted`."""
    row = list(range(len(wanted) + 1))
    for count, word in enumerate(heard, 1):
        diagonal, row[0] = row[0], count
        for index, other in enumerate(wanted, 1):
            diagonal, row[index] = row[index], min(row[index] + 1, row[index - 1] + 1, diagonal + (word != other))
    return row


def errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Wrong words and the number of words of the reference."""
    wanted = words(reference)
    return distances(wanted, words(hypothesis))[-1], len(wanted)


def words_off(text: str, claimed: str, played: str) -> int | None:
    """By how many words the text `claimed` to be heard of a reply differs from what its audio holds.

    `text` is all of the reply, `played` what a recogniser made of the audio that was played: the beginning of the text
    that fits it best is the truth, since a recogniser errs in words but rarely in their number. None without words.
    """
    whole = words(text)
    if not whole:
        return None
    fits = distances(whole, words(played))
    best = min(fits)
    truth = max(length for length, distance in enumerate(fits) if distance == best)
    said = words(claimed)
    return abs(len(said) - truth) if whole[: len(said)] == said else distances(whole[:truth], said)[-1]
