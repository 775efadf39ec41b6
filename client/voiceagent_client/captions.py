"""A conversation's happenings as lines for a terminal."""

from voiceagent_client.happenings import (
    AgentText,
    Disconnected,
    Happening,
    Interrupted,
    ResponseDone,
    ResponseMeasured,
    SessionError,
    TurnTimings,
    UserText,
)


def caption(happening: Happening) -> str | None:
    """What was said, one line a turn; None for everything else."""
    match happening:
        case UserText(text=text, final=True) if text:
            return f"you:   {text}"
        case AgentText(text=text, final=True) if text:
            return f"agent: {text}"
        case Interrupted(played_ms=played_ms):
            return f"       (interrupted after {played_ms / 1000:.1f} s)"
    return None


def timing(happening: Happening) -> str | None:
    """How long an answer took; None for everything else."""
    match happening:
        case ResponseMeasured(response_ms=int(response_ms), first_sample_ms=first):
            return f"       (answered after {response_ms} ms, first sample after {first} ms)"
        case TurnTimings(parts=parts, response_ms=total):
            listed = " · ".join(f"{name} {ms}" for name, ms in parts.items())
            return f"       (server: {'?' if total is None else total} ms = {listed})"
    return None


def trouble(happening: Happening) -> str | None:
    """What went wrong; None for everything else."""
    match happening:
        case Disconnected(reason, attempt, retry_in):
            return f"disconnected: {reason}; attempt {attempt} in {retry_in:.1f} s"
        case SessionError(code, message):
            return f"the server reports {code or 'an error'}: {message}"
        case ResponseDone(status="failed", error=error):
            return f"the response failed: {error or 'no reason given'}"
    return None
