"""Is a difference between two arms more than chance? The usual tests, two-sided."""

import math
from collections.abc import Sequence

import numpy as np


def of_ranks(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The chance that two samples of one distribution differ as much in their ranks: the test of Mann and Whitney, in
    its normal approximation with correction for ties. It asks nothing of the distribution, and latencies are skewed.
    None below eight values a side, where the approximation is too coarse."""
    n, m = len(ours), len(theirs)
    if min(n, m) < 8:
        return None
    values = np.concatenate([np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    variance = n * m / 12 * ((n + m + 1) - ties / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 1.0
    away = max(0.0, abs(u - n * m / 2) - 0.5)
    return _two_sided(away / math.sqrt(variance))


def of_shares(ours: int, of_ours: int, theirs: int, of_theirs: int) -> float | None:
    """The chance that two samples of one share differ as much: the z test of two proportions, pooled. None where the
    normal approximation does not hold, with fewer than five expected cases or others on a side."""
    if not of_ours or not of_theirs:
        return None
    share = (ours + theirs) / (of_ours + of_theirs)
    if min(of_ours, of_theirs) * min(share, 1 - share) < 5:
        return None
    error = math.sqrt(share * (1 - share) * (1 / of_ours + 1 / of_theirs))
    return _two_sided(abs(ours / of_ours - theirs / of_theirs) / error)


def _two_sided(z: float) -> float:
    return math.erfc(z / math.sqrt(2))
