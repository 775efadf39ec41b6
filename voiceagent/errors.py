"""The errors that cross module borders.

Every message here may be shown to a client and written to a log: never put a secret, a header or a user's words in one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Stage = Literal["vad", "asr", "llm", "tts", "memory"]


class VoiceagentError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(VoiceagentError):
    """The configuration cannot work; the message says which key and how to mend it."""


class EngineError(VoiceagentError):
    """An engine failed. `stage` tells which station, `code` is a short stable word for clients and metrics.

    Codes: `unavailable` (no connection, 5xx), `timeout`, `unauthorized`, `rate_limited`, `bad_request`,
    `content_filter` (refused for what it says), `context_length` (too long), `bad_response`, `empty` (a model answered
    to the end and said nothing), `no_sound` (a voice had none for the text), `failed` (anything inside a local engine).
    `retry_after` is how many seconds the endpoint asks to be left alone, 0 where it does not say.
    """

    def __init__(self, stage: Stage, code: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.stage = stage
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.endpoint = ""
        """Which of several, or the server's host; '' for what runs in this process."""


@contextmanager
def at_endpoint(name: str) -> Iterator[None]:
    """What fails within fails at this endpoint, unless it is known better already."""
    try:
        yield
    except EngineError as error:
        error.endpoint = error.endpoint or name
        raise


class Refused(VoiceagentError):
    """A client's command cannot be carried out and has changed nothing. `code` and `param` are the protocol's words."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
