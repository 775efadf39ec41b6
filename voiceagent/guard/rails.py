"""Guard rails of `[guard]`, put around any language model."""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric
from pydantic import BaseModel, ValidationError

from voiceagent.errors import ConfigError
from voiceagent.guard.masking import MaskedLlm
from voiceagent.guard.moderation import ModeratedLlm
from voiceagent.guard.moderators import ModerationEndpoint, Moderator, WordList
from voiceagent.guard.options import GuardSection, ModeratorOptions, Side, Sides
from voiceagent.llm.base import LlmEngine, LlmRequest
from voiceagent.llm.layers import LlmLayer

GROUP = "voiceagent.guard"
"""The entry points that name moderators of third parties."""


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
        moderators = _moderators(guard)
        if not moderators:
            return engine
        return ModeratedLlm(
            engine,
            guard.sentences,
            questions=[moderator for moderator, sides in moderators if "in" in sides],
            answers=[moderator for moderator, sides in moderators if "out" in sides],
            open_when_away=guard.open_when_away,
            on_blocked=self._count,
        )

    def _count(self, request: LlmRequest, side: Side, reason: str) -> None:
        self._blocked.labels(side).inc()


def guarded(engine: LlmEngine, guard: GuardSection) -> LlmEngine:
    """The engine behind the guard rails that are set; as it is where none is. Raises ConfigError."""
    wanted = guard.mask or guard.words or guard.patterns or guard.endpoint is not None or guard.moderators
    return GuardedLlm(engine, guard) if wanted else engine


def _moderators(guard: GuardSection) -> list[tuple[Moderator, Sides]]:
    found: list[tuple[Moderator, Sides]] = []
    if guard.words or guard.patterns:
        found.append((WordList(guard.words, guard.patterns), guard.sides))
    if (endpoint := guard.endpoint) is not None:
        remote = ModerationEndpoint(endpoint.base_url, endpoint.api_key, endpoint.model, endpoint.seconds)
        found.append((remote, endpoint.sides))
    return found + [(_own(options), options.sides) for options in guard.moderators]


def _own(options: ModeratorOptions) -> Moderator:
    """Raises ConfigError, saying what to do."""
    where = f"[[guard.moderators]] {options.moderator}"
    made = _class(options.moderator, where)
    model = getattr(made, "Options", None)
    if not (isinstance(made, type) and isinstance(model, type) and issubclass(model, BaseModel)):
        raise ConfigError(f"{where} must be a class with its options as a pydantic model in `Options`")
    if missing := [name for name in ("open", "judge", "close") if not callable(getattr(made, name, None))]:
        raise ConfigError(f"{where} is no moderator: it has no method {missing[0]}")
    try:
        parsed = model.model_validate(options.own_options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {key}: {first['msg']}") from None
    return cast(Moderator, made(parsed))


def _class(name: str, where: str) -> object:
    """What an entry point's name, or `package.module:Class`, stands for. Raises ConfigError."""
    module, colon, attribute = name.partition(":")
    if not colon:
        points = {point.name: point for point in entry_points(group=GROUP)}
        if name not in points:
            known = ", ".join(sorted(points)) or "none"
            raise ConfigError(f"{where} is not installed (there is: {known}); or write package.module:Class")
        return cast(object, points[name].load())
    try:
        return cast(object, getattr(import_module(module), attribute))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where} cannot be imported: {error}") from None
