"""How long the user must be silent before their turn counts as finished: fixed, or by what speaks for its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from voiceagent.session.options import Eagerness, TurnOptions
from voiceagent.turn.pause import Pause
from voiceagent.turn.rules import RULES, Rule

PATIENCE_MS: dict[Eagerness, int] = {"high": 350, "auto": 500, "medium": 500, "low": 900}
"""The silence that ends a turn when the client names none and nothing adapts it."""


class Endpointer(Protocol):
    """Says when a silence is the end of a turn. Without state and clock: the same pause, the same answer."""

    def wait_ms(self, pause: Pause) -> int:
        """How long the silence has to be in all, in milliseconds, for the turn to be over, by what is known of it now.
        Asked again when more is known (words, a model's answer): the newest answer holds, and when so much has already
        passed, the turn is over at once."""
        ...

    def evidence(self, pause: Pause) -> Mapping[str, float]:
        """What speaks for (above 0) and against the end, in log-odds by rule, to be shown; empty where nothing is."""
        ...


class FixedSilence:
    """Ends a turn after a set silence: the client's own, the configuration's, or the one its eagerness stands for."""

    def __init__(self, options: TurnOptions, configured_ms: int = 0) -> None:
        if options.silence_ms is not None:
            self._silence_ms = options.silence_ms
        else:
            self._silence_ms = configured_ms or PATIENCE_MS[options.eagerness]

    def wait_ms(self, pause: Pause) -> int:
        return self._silence_ms

    def evidence(self, pause: Pause) -> Mapping[str, float]:
        return {}


EVIDENCE_MS = 300
"""What one unit of log-odds is worth. Pauses that speakers go on from last, beyond the first 160 ms, another 327 ms in
the mean (measured on 388), about exponentially distributed: in each such stretch of silence the odds that it is the end
grow by a factor of e, which is one unit. So a unit of evidence saves one stretch."""


@dataclass(frozen=True, slots=True)
class Patience:
    """`usual_ms` is the silence without evidence either way; none brings it below `least_ms` or above `most_ms`."""

    usual_ms: float
    least_ms: int
    most_ms: int

    def wait_ms(self, evidence: float) -> int:
        """The silence in milliseconds that ends a turn with these log-odds for its end."""
        return round(min(max(self.usual_ms - EVIDENCE_MS * evidence, self.least_ms), self.most_ms))


ANSWERED_MS = 256
"""Silence by which the words and a model's answer, asked for at 160 ms, are at hand. No adaptive end comes sooner, else
it would depend on how fast the machine is."""

PATIENCE: Mapping[Eagerness, Patience] = {
    "high": Patience(580, ANSWERED_MS, 1500),
    "auto": Patience(840, ANSWERED_MS, 2000),
    "medium": Patience(840, ANSWERED_MS, 2000),
    "low": Patience(1100, 320, 3000),
}
"""Measured (benchmarks/turn_end.py): of recorded turns they cut off about 10, 5 and 2.5 %."""


class AdaptiveSilence:
    """Ends a turn the sooner, the more speaks for its end."""

    def __init__(self, patience: Patience, rules: Sequence[Rule] = RULES) -> None:
        self._patience = patience
        self._rules = rules

    def wait_ms(self, pause: Pause) -> int:
        return self._patience.wait_ms(sum(rule.evidence(pause) for rule in self._rules))

    def evidence(self, pause: Pause) -> Mapping[str, float]:
        return {type(rule).__name__.lower(): round(rule.evidence(pause), 2) for rule in self._rules}


def endpointer(options: TurnOptions, configured_ms: int = 0) -> Endpointer:
    """The one that a client's options ask for. A silence that the client or the configuration names is obeyed to the
    millisecond; without one it adapts."""
    if options.silence_ms is not None or configured_ms:
        return FixedSilence(options, configured_ms)
    return AdaptiveSilence(PATIENCE[options.eagerness])
