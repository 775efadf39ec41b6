"""How long the user waits for an answer, from what this side sends and receives."""

from voiceagent_client.happenings import ResponseMeasured
from voiceagent_client.pcm import Pcm, first_audible, to_ms


class ResponseMeter:
    """Measures the first response that is created after the user's speech ended. Times are seconds on the loop's clock.

    A response created before that is none to the speech: the agent was still talking, or took a pause for the end."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._speech_end: float | None = None
        self._response_id: str | None = None
        self._first: float | None = None
        self._silent = 0

    def speech_ended(self, at: float) -> None:
        self.reset()
        self._speech_end = at

    def created(self, response_id: str) -> None:
        if self._speech_end is not None and self._first is None:
            self._response_id = response_id

    def audio(self, response_id: str, pcm: Pcm, at: float) -> ResponseMeasured | None:
        """The measure, once: with the first audible sample."""
        if self._response_id != response_id:
            return None
        if self._first is None:
            self._first = at
        audible = first_audible(pcm)
        self._silent += len(pcm) if audible is None else audible
        return None if audible is None else self._measured(at)

    def done(self, response_id: str) -> ResponseMeasured | None:
        """The measure of a response that was all silence."""
        return self._measured(None) if self._response_id == response_id else None

    def _measured(self, audible: float | None) -> ResponseMeasured | None:
        started, first, response_id, silent = self._speech_end, self._first, self._response_id, self._silent
        if started is None or first is None or response_id is None:
            return None
        self.reset()
        response_ms = None if audible is None else round((audible - started) * 1000)
        return ResponseMeasured(response_id, response_ms, round((first - started) * 1000), to_ms(silent))
