"""A transcript while it grows: `delta` events can only append, the recogniser's guesses may change."""


class Captions:
    """What two guesses in a row agree on is told, but for the word it breaks off in."""

    def __init__(self) -> None:
        self._item_id = ""
        self._guess = ""
        self._told = ""

    def guess(self, item_id: str, text: str) -> str:
        """The words that can be told now."""
        if item_id != self._item_id:
            self._item_id, self._guess, self._told = item_id, "", ""
        sure, self._guess = _whole_words(_agreed(self._guess, text)), text
        if len(sure) <= len(self._told) or not sure.startswith(self._told):
            return ""
        told, self._told = self._told, sure
        return sure[len(told) :]

    def done(self, item_id: str, text: str) -> str:
        """The rest, when the turn's words are final; nothing if they differ from what was told."""
        told = self._told if item_id == self._item_id else ""
        self._item_id = ""
        return text[len(told) :] if text.startswith(told) else ""


def _agreed(one: str, other: str) -> str:
    """How both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))]


def _whole_words(text: str) -> str:
    """Without the last word, which may go on; in Chinese that is the last character."""
    end = len(text)
    while end and text[end - 1].isascii() and not text[end - 1].isspace():
        end -= 1
    return text[:end] if end < len(text) else text[: max(0, end - 1)]
