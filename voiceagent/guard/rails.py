"""Guard rails of `[guard]`, put around any language model."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric

from voiceagent.guard.masking import MaskedLlm
from voiceagent.guard.moderation import ModeratedLlm
from voiceagent.guard.moderators import MODERATORS, ModerationEndpoint, Moderator, WordList
from voiceagent.guard.options import GuardSection, Side, Sides
from voiceagent.llm.base import LlmEngine, LlmRequest
from voiceagent.llm.layers import LlmLayer


class GuardedLlm(LlmLayer):
    """An LlmEngine behind guard rails: moderation sees what the user says and hears, the engine only what is masked. It
    counts what was blocked."""

    def __init__(self, engine: LlmEngine, guard: GuardSection) -> None:
        """Raises ConfigError for a pattern that is none and a moderator that cannot be made."""
        self._registry = CollectorRegistry()
        self._blocked = Counter(
            "voiceagent_guard_blocked_total",
            "What moderation blocked, by side (in, out)",
            ["side"],
            registry=self._registry,
        )
        super().__init__(self._moderated(MaskedLlm(engine, guard.note) if guard.mask else engine, guard))

    def collect(self) -> Iterator[Metric]:
        """Its series for Prometheus."""
        return iter(self._registry.collect())

    def _moderated(self, engine: LlmEngine, guard: GuardSection) -> LlmEngine:
        judges = moderators(guard)
        if not judges:
            return engine
        return ModeratedLlm(
            engine,
            guard.sentences,
            questions=[moderator for moderator, sides in judges if "in" in sides],
            answers=[moderator for moderator, sides in judges if "out" in sides],
            open_when_away=guard.open_when_away,
            on_blocked=self._count,
        )

    def _count(self, request: LlmRequest, side: Side, reason: str) -> None:
        self._blocked.labels(side).inc()


def guarded(engine: LlmEngine, guard: GuardSection) -> LlmEngine:
    """The engine behind the guard rails that are set; as it is where none is. Raises ConfigError."""
    wanted = guard.mask or guard.words or guard.patterns or guard.endpoint is not None or guard.moderators
    return GuardedLlm(engine, guard) if wanted else engine


def moderators(guard: GuardSection) -> list[tuple[Moderator, Sides]]:
    """All moderators of the section, not open yet, with the sides that each sees. Raises ConfigError."""
    found: list[tuple[Moderator, Sides]] = []
    if guard.words or guard.patterns:
        found.append((WordList(guard.words, guard.patterns), guard.sides))
    if (endpoint := guard.endpoint) is not None:
        remote = ModerationEndpoint(endpoint.base_url, endpoint.api_key, endpoint.model, endpoint.seconds)
        found.append((remote, endpoint.sides))
    own = [(MODERATORS.make("[[guard.moderators]]", one.with_options()), one.sides) for one in guard.moderators]
    return found + own
