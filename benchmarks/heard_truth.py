"""Which words of a prompt have been said by when: the recogniser listens to more and more of its audio.

A recogniser errs in single words, above all where audio is cut off, but a longer beginning never holds fewer words: the
path through all its answers that never goes back, and costs the fewest wrong words, is taken for the truth.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.evaluation.words import distances, words

STEP_SECONDS = 0.2
FIRST_SECONDS = 0.4
"""Of less audio a recogniser makes nothing, or anything."""
MOST_WRONG = 4.0
"""Wrong words that one answer may cost: some are made up from beginning to end."""
USABLE = 1.2
"""Mean cost above which the recogniser did not follow the prompt, and nothing is known."""
QUIET = silence(EAR_RATE // 5)
"""After each beginning: a recogniser makes up more where audio ends in the middle of a sound."""
PACE = 2.8
"""Words a second."""
FASTEST = 7.0
UNEVEN = 0.1
"""Cost of each word more or fewer in a step than PACE tells."""


@dataclass(frozen=True, slots=True)
class Truth:
    """`counts[i]` words of the text were said at `times[i]` seconds."""

    times: list[float]
    counts: list[int]

    def at(self, seconds: float) -> float:
        """Between two steps it is between their counts."""
        return float(np.interp(seconds, [0.0, *self.times], [0, *self.counts]))


async def truth_of(text: str, pcm: Pcm, recognise: Callable[[Pcm], Awaitable[str]]) -> Truth | None:
    """`pcm` at EAR_RATE is the whole prompt. None where the recogniser does not follow it."""
    seconds = len(pcm) / EAR_RATE
    times = [*np.arange(FIRST_SECONDS, seconds - STEP_SECONDS / 2, STEP_SECONDS).tolist(), seconds]
    wanted = words(text)
    rows = [distances(wanted, words(await recognise(beginning(pcm, time)))) for time in times]
    costs = np.minimum(np.array(rows, dtype=float), MOST_WRONG)
    counts = cheapest(times, costs)
    mean = float(np.mean([costs[step, count] for step, count in enumerate(counts)]))
    return Truth(times, counts) if mean <= USABLE else None


def beginning(pcm: Pcm, seconds: float) -> Pcm:
    return np.concatenate((pcm[: int(seconds * EAR_RATE)], QUIET))


def cheapest(times: list[float], costs: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> list[int]:
    """The path of word counts that never falls and ends with all words; `costs` has shape (steps, words + 1)."""
    steps, counts = costs.shape
    total = np.full((steps, counts), np.inf)
    came_from = np.zeros((steps, counts), dtype=int)
    total[0] = costs[0] + UNEVEN * np.abs(np.arange(counts) - times[0] * PACE)
    for step in range(1, steps):
        seconds = times[step] - times[step - 1]
        most = max(2, int(np.ceil(seconds * FASTEST)))
        for count in range(counts):
            before = np.arange(max(0, count - most), count + 1)
            path = total[step - 1, before] + UNEVEN * np.abs(count - before - seconds * PACE)
            best = int(path.argmin())
            total[step, count] = path[best] + costs[step, count]
            came_from[step, count] = before[best]
    path = [counts - 1]
    for step in range(steps - 1, 0, -1):
        path.append(int(came_from[step, path[-1]]))
    return path[::-1]
