"""What a voiceagent server counts of its model's work, from its /metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families
from voiceagent_client.endpoint import LOOPBACK

TIMEOUT = 5.0
TOKENS = "voiceagent_llm_tokens_total"
SPECULATIONS = "voiceagent_speculations_total"

Counts = Mapping[tuple[str, str], float]
"""By the series' name and the value of its only label."""


@dataclass(frozen=True, slots=True)
class SpeculationCounts:
    """Of the replies prepared ahead: how many were used and thrown away, with the tokens written for the latter.
    `tokens_spoken` are those of all replies that were given. The server counts all its talks, not only these."""

    used: int
    thrown_away: int
    tokens_thrown_away: int
    tokens_spoken: int


async def counts(url: str) -> Counts | None:
    """The counters of the server at this WebSocket URL; None when it has none of these."""
    parts = urlsplit(url)
    page = parts._replace(scheme="https" if parts.scheme == "wss" else "http", path="/metrics", query="").geturl()
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=parts.hostname not in LOOPBACK) as client:
            answer = await client.get(page)
        if answer.status_code != httpx.codes.OK:
            return None
        samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    except (httpx.HTTPError, ValueError):
        return None
    found = {
        (sample.name, next(iter(sample.labels.values()), "")): float(sample.value)
        for sample in samples
        if sample.name in (TOKENS, SPECULATIONS)
    }
    known = any(sample.name.startswith("voiceagent_") for sample in samples)
    return found if known else None


def speculation(before: Counts | None, after: Counts | None) -> SpeculationCounts | None:
    """What came between two readings; None when one of them is missing."""
    if before is None or after is None:
        return None

    def more(name: str, label: str) -> int:
        return round(after.get((name, label), 0.0) - before.get((name, label), 0.0))

    return SpeculationCounts(
        more(SPECULATIONS, "used"),
        more(SPECULATIONS, "thrown away"),
        more(TOKENS, "thrown away"),
        more(TOKENS, "output"),
    )
