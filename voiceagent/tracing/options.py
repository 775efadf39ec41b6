"""Options of `[tracing]`, and the tracing that they ask for."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from voiceagent.llm.base import LlmEngine
from voiceagent.llm.layers import layers
from voiceagent.section import Section

if TYPE_CHECKING:
    from voiceagent.tracing.spans import TraceRecorder


class TracingSection(Section):
    """OpenTelemetry spans of every turn."""

    spans: bool = True
    """Make them, where `opentelemetry-api` is installed and the process has said where spans go."""
    content: bool = False
    """Add what the language model is asked and answers, as it sees it: masked where `[guard] mask` is set."""


@runtime_checkable
class IsTraced(Protocol):
    """A layer that makes spans."""

    @property
    def tracing(self) -> "TraceRecorder": ...


def tracing_of(section: TracingSection) -> "TraceRecorder | None":
    """None where no spans are wanted, or OpenTelemetry is not installed."""
    if not section.spans:
        return None
    try:
        from opentelemetry import trace

        from voiceagent.tracing.spans import TraceRecorder
    except ImportError:
        return None
    return TraceRecorder(trace.get_tracer("voiceagent"), content=section.content)


def tracing_in(engine: LlmEngine, section: TracingSection) -> "TraceRecorder | None":
    """The tracing that the language model's spans go to; for one without any the section decides."""
    for layer in layers(engine):
        if isinstance(layer, IsTraced):
            return layer.tracing
    return tracing_of(section)
