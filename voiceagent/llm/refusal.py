"""What an endpoint's refusals and errors mean, whichever vendor's they are. Without I/O.

All vendors send `{"error": {…}}`, with a short word for the kind of error as `code`, `type` or `status`. Only that word
is passed on: the message may repeat the key or the user's words.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import msgspec

from voiceagent.errors import EngineError

LONGEST_RETRY_AFTER = 86_400.0

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_GOOGLE_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')
_KINDS = (
    ("rate_limited", ("rate_limit", "quota", "resource_exhausted", "too_many")),
    ("unauthorized", ("authenti", "permission", "api_key", "billing")),
    ("timeout", ("timeout", "deadline_exceeded")),
    ("bad_request", ("invalid_", "context", "too_large", "not_found", "failed_precondition")),
)
"""An error's code by what its word contains; words that nothing is known of count as `unavailable`."""


class ServerError(msgspec.Struct):
    """The `error` object of an answer. OpenAI: `code`, `type`; Anthropic: `type`; Google: `code` (the HTTP status),
    `status`."""

    code: str | int | None = None
    type: str | None = None
    status: str | int | None = None

    @property
    def word(self) -> str:
        """The server's short name for the error, if it has one."""
        words = [
            word for word in (self.code, self.type, self.status) if isinstance(word, str) and _WORD.fullmatch(word)
        ]
        return words[0] if words else ""


class _Body(msgspec.Struct):
    error: ServerError | str | None = None


def status_error(status: int, headers: Mapping[str, str], body: bytes) -> EngineError:
    """What an HTTP status other than 200 means. `headers` have names in lower case."""
    code, meaning = _meaning(status)
    if b"API_KEY_INVALID" in body:  # Google calls that a bad request
        code, meaning = _meaning(401)
    word = _word(_error_of(body))
    message = f"the language model {meaning}: HTTP {status}" + (f" ({word})" if word else "")
    return EngineError("llm", code, message, retry_after(headers, body))


def streamed_error(error: ServerError | str) -> EngineError:
    """An error object inside a stream: by its number if it has one, else by its word."""
    word = _word(error)
    if isinstance(error, ServerError) and error.code is not None and str(error.code).isdecimal():
        code, _ = _meaning(int(error.code))
    else:
        code = next((code for code, parts in _KINDS if any(part in word.lower() for part in parts)), "unavailable")
    return EngineError("llm", code, "the language model broke off its answer" + (f" ({word})" if word else ""))


def retry_after(headers: Mapping[str, str], body: bytes = b"") -> float:
    """How many seconds the endpoint asks to be left alone; 0 where it does not say. A date is taken relative to the
    server's own clock."""
    seconds = 0.0
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        seconds = milliseconds / 1000
    elif given := headers.get("retry-after"):
        number = _number(given)
        seconds = _until(given, headers.get("date", "")) if number is None else number
    elif found := _GOOGLE_DELAY.search(body):
        seconds = float(found[1])
    return min(seconds, LONGEST_RETRY_AFTER)


def _meaning(status: int) -> tuple[str, str]:
    match status:
        case 401 | 402 | 403:
            return "unauthorized", "refuses the key"
        case 429:
            return "rate_limited", "takes no more requests for now"
        case 408 | 504:
            return "timeout", "took too long"
        case _ if status >= 500:
            return "unavailable", "is out of order"
        case _ if status >= 400:
            return "bad_request", "refuses the request"
        case _:
            return "bad_response", "gave an unexpected answer"


def _error_of(body: bytes) -> ServerError | str | None:
    """Google sends its errors as a list of one where no event stream was asked for."""
    try:
        found = msgspec.json.decode(body, type=_Body | list[_Body])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if isinstance(found, list):
        return found[0].error if found else None
    return found.error


def _word(error: ServerError | str | None) -> str:
    return error.word if isinstance(error, ServerError) else ""


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", text, re.ASCII) else None


def _until(date: str, now: str) -> float:
    try:
        return max(0.0, (parsedate_to_datetime(date) - parsedate_to_datetime(now)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
