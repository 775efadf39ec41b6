"""How sure a figure is: 95 % intervals of shares and of percentiles."""

import math
from collections.abc import Sequence

import numpy as np

Z = 1.96


def wilson(right: int, n: int) -> tuple[float, float]:
    """Of a share: Wilson's score interval."""
    middle, spread = (right + Z * Z / 2) / (n + Z * Z), Z * math.sqrt(right * (n - right) / n + Z * Z / 4) / (n + Z * Z)
    return max(0.0, middle - spread), min(1.0, middle + spread)


def of_percentile(values: Sequence[float], q: float) -> tuple[float, float]:
    """Of the `q`th percentile, whatever the distribution: the values whose ranks enclose it, by the binomial law in its
    normal approximation. With few values it is the whole range."""
    ordered, n, share = sorted(values), len(values), q / 100
    spread = Z * math.sqrt(n * share * (1 - share))
    low, high = math.floor(n * share - spread), math.ceil(n * share + spread)
    return ordered[min(n - 1, max(0, low))], ordered[min(n - 1, max(0, high))]


def percentile(values: Sequence[float], q: float) -> str:
    """ "12.3 [11.8-12.9]"."""
    low, high = of_percentile(values, q)
    return f"{float(np.percentile(values, q)):.1f} [{low:.1f}-{high:.1f}]"
