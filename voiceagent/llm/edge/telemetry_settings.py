"""What `[llm.telemetry]` says."""

from voiceagent.section import Section


class TelemetrySettings(Section):
    """OpenTelemetry."""

    spans: bool = True
    """One a request, where `opentelemetry-api` is installed and the process has said where spans go."""
    content: bool = False
    """Adds what is asked and answered, after masking."""
