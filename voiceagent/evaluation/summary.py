"""Many turns' results as a few figures, each with the number of cases behind it, and what fell short of a scenario."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from voiceagent.evaluation.measure import TurnResult
from voiceagent.evaluation.scenario import Expect
from voiceagent.evaluation.words import words

CLOSE_WORDS = 1
"""What was heard counts as known when it is off by no more words."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `n` values; None without any."""

    n: int
    p50: float | None
    p95: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `n`; None of nothing."""

    n: int
    count: int
    share: float | None


Figure = Spread | Share


def spread(values: Iterable[float]) -> Spread:
    """Percentiles by the nearest rank: each is a value that occurred."""
    ordered = sorted(values)
    if not ordered:
        return Spread(0, None, None, None)

    def rank(percent: int) -> float:
        return ordered[math.ceil(percent * len(ordered) / 100) - 1]

    return Spread(len(ordered), rank(50), rank(95), ordered[-1])


def share(count: int, n: int) -> Share:
    return Share(n, count, count / n if n else None)


def summarise(results: Sequence[TurnResult]) -> dict[str, Figure]:
    """In the order in which they are shown."""
    off = [words_off for result in results for words_off in result.heard_words_off]
    resumed = [right for result in results for right in result.resumed]
    return {
        "response_ms": spread(value for result in results for value in result.response_ms),
        "turns_unanswered": share(sum(result.unanswered for result in results), len(results)),
        "turns_cut_off": share(sum(result.cut_off for result in results), len(results)),
        "interruptions_missed": share(
            sum(result.missed for result in results), sum(result.interruptions for result in results)
        ),
        "interruptions_false": share(
            sum(result.false for result in results), sum(result.distractions for result in results)
        ),
        "time_to_silence_ms": spread(value for result in results for value in result.silence_ms),
        "replies_resumed": share(sum(resumed), len(resumed)),
        "heard_within_one_word": share(sum(words_off <= CLOSE_WORDS for words_off in off), len(off)),
        "heard_words_off": spread(off),
        "word_errors": share(sum(result.word_errors for result in results), sum(result.words for result in results)),
        "interjections_late": share(
            sum(result.late for result in results),
            sum(result.late + result.interruptions + result.distractions for result in results),
        ),
    }


def shortcomings(result: TurnResult, expect: Expect) -> list[str]:
    """What is not as the scenario wants it."""
    found = list(result.trouble)
    slowest = max(result.response_ms, default=None)
    silence = max(result.silence_ms, default=None)
    errors = result.word_errors / result.words if result.words else 0.0
    off = max(result.heard_words_off, default=None)
    if expect.answered and result.unanswered and not result.trouble:
        found.append("was not answered")
    if not expect.answered and not result.unanswered:
        found.append("was answered")
    if expect.interrupted is not None and result.interrupted != expect.interrupted:
        found.append("the agent was not stopped" if expect.interrupted else "the agent was stopped")
    if expect.cut_off is not None and result.cut_off != expect.cut_off:
        found.append("was cut off in a pause" if result.cut_off else "was not cut off in a pause")
    if expect.resumed is not None and (bool(result.resumed) and all(result.resumed)) != expect.resumed:
        found.append("the reply did not go on as it was" if expect.resumed else "the reply went on")
    if expect.answer is not None and not says(result.agent_text, expect.answer):
        found.append(f"the answer does not say {expect.answer!r}")
    if expect.max_response_ms is not None and slowest is not None and slowest > expect.max_response_ms:
        found.append(f"answered after {slowest} ms, more than {expect.max_response_ms}")
    if expect.max_silence_ms is not None and silence is not None and silence > expect.max_silence_ms:
        found.append(f"silent after {silence} ms, more than {expect.max_silence_ms}")
    if expect.max_word_errors is not None and errors > expect.max_word_errors:
        found.append(f"{errors:.0%} of the words misheard, more than {expect.max_word_errors:.0%}")
    if expect.max_heard_words_off is not None and off is not None and off > expect.max_heard_words_off:
        found.append(f"{off} words off in what was heard, more than {expect.max_heard_words_off}")
    if result.late and (expect.interrupted or expect.resumed):
        found.append("the answer was too short for the interjection")
    return found


def says(text: str, wanted: str) -> bool:
    """Whether these words occur in a row."""
    return f" {' '.join(words(wanted))} " in f" {' '.join(words(text))} "
