"""What `[llm.telemetry]` says."""

from voiceagent.section import Section


class TelemetrySettings(Section):
    """`spans`: one a request, where `opentelemetry-api` is installed and the process has said where spans go. `content`
    adds what is asked and answered, after masking."""

    spans: bool = True
    content: bool = False
