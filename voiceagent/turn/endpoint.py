"""How long the user must be silent before their turn counts as finished."""

from typing import Protocol

from voiceagent.session.options import Eagerness, TurnOptions

PATIENCE_MS: dict[Eagerness, int] = {"high": 350, "auto": 500, "medium": 500, "low": 900}
"""The silence that ends a turn when the client names none."""


class Endpointer(Protocol):
    def silence_ms(self, text: str) -> int:
        """The silence in milliseconds that ends the turn, given the words understood so far ('' while none are)."""
        ...


class FixedSilence:
    """Ends a turn after a set silence: the client's own, the configuration's, or the one its eagerness stands for."""

    def __init__(self, options: TurnOptions, configured_ms: int = 0) -> None:
        if options.silence_ms is not None:
            self._silence_ms = options.silence_ms
        else:
            self._silence_ms = configured_ms or PATIENCE_MS[options.eagerness]

    def silence_ms(self, text: str) -> int:
        return self._silence_ms
