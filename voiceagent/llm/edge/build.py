"""The one place where the edge is put together: the endpoints in the middle, the layers around them.

A layer is a language model that asks another one: a cache, guard rails, a budget, routes. The first of a list is the
outermost, so it sees a request first and its answer last.
"""

from collections.abc import Callable, Sequence

from voiceagent.llm.base import LlmEngine

Layer = Callable[[LlmEngine], LlmEngine]
"""Wraps an engine. What it wraps is opened and closed by it."""


def layered(core: LlmEngine, layers: Sequence[Layer]) -> LlmEngine:
    """The core inside all layers."""
    engine = core
    for layer in reversed(layers):
        engine = layer(engine)
    return engine
