"""What an endpoint's refusals and errors mean, whichever vendor's they are. Without I/O.

All vendors send `{"error": {…}}`, with a short word for the kind of error as `code`, `type` or `status`. Only that word
is passed on: the message may repeat the key or the user's words.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.lenient import decoded, objects_of

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


_CONTENT = re.compile(
    r"content[_ ]?(?:filter|policy|management|moderat)|ResponsibleAI|data[_ ]?inspection|moderation|flagged|"
    r"PROHIBITED_CONTENT|(?<!case[- ])sensitive|unsafe|safety|jailbreak|inappropriate|违规|敏感|不安全",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context[_ ]?(?:length|window|size|limit)|maximum context|exceed_context|(?:prompt|input|request|messages?) "
    r"(?:is |are |was )?too (?:long|large)|too many (?:input )?tokens|input token count|max(?:imum)? (?:number of )?"
    r"(?:input |prompt )?tokens? (?:allowed|limit)|string_above_max_length|request_too_large|prompt_too_long|"
    r"reduce the length|range of input length|"
    r"exceeds? the (?:maximum|max|model|available)[^.\"]{0,40}(?:token|context|length)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ServerError:
    """The `error` object of an answer. OpenAI: `code`, `type`; Anthropic: `type`; Google: `code` (the HTTP status),
    `status`. `message` is only looked through for what kind of refusal it is, never shown."""

    code: str | int | None = None
    type: str | None = None
    status: str | int | None = None
    message: str = ""

    @classmethod
    def of(cls, value: JsonValue) -> "ServerError":
        """Whatever a server calls its error."""
        if isinstance(value, str):
            return cls(message=value)
        if not isinstance(value, dict):
            return cls()
        code, kind, status = value.get("code"), value.get("type"), value.get("status")
        return cls(
            code if isinstance(code, str | int) else None,
            kind if isinstance(kind, str) else None,
            status if isinstance(status, str | int) else None,
            json.dumps(value, ensure_ascii=False)[:4000],
        )

    @property
    def word(self) -> str:
        """The server's short name for the error, if it has one."""
        words = [
            word for word in (self.code, self.type, self.status) if isinstance(word, str) and _WORD.fullmatch(word)
        ]
        return next((word for word in words if not word.isdecimal()), words[0] if words else "")


def error_of(event: Mapping[str, JsonValue]) -> ServerError | None:
    """The error that an event or a body tells of; None where it tells of none."""
    error = event.get("error")
    if error and not (isinstance(error, str) and error.lower() in ("null", "none", "false")):
        return ServerError.of(error)
    if event.get("type") == "error" or event.get("object") == "error":
        return ServerError.of(dict(event))
    return None


def status_error(status: int, headers: Mapping[str, str], body: bytes) -> EngineError:
    """What an HTTP status other than 200 means. `headers` have names in lower case."""
    code, meaning = _meaning(status)
    if b"API_KEY_INVALID" in body:  # Google calls that a bad request
        code, meaning = _meaning(401)
    word = _error_of(body).word
    about = _about_request(body.decode("utf-8", "replace"))
    if about is not None and (status in (400, 403, 413, 422) or (status == 500 and about[0] == "context_length")):
        code, meaning = about  # llama.cpp calls it an error of its own
    message = f"the language model {meaning}: HTTP {status}" + (f" ({word})" if word else "")
    return EngineError("llm", code, message, retry_after(headers, body))


def streamed_error(error: ServerError | str) -> EngineError:
    """An error object inside a stream, or the word for a failure with which an answer ended: by its number if it has
    one, else by its word."""
    if isinstance(error, str):
        error = ServerError(type=error)
    word = error.word
    code = next((code for code, parts in _KINDS if any(part in word.lower() for part in parts)), "unavailable")
    if error.code is not None and str(error.code).isdecimal():
        code, _ = _meaning(int(error.code))
    if code in ("unavailable", "bad_request", "bad_response") and (about := _about_request(error.message)) is not None:
        code = about[0]
    return EngineError("llm", code, "the language model broke off its answer" + (f" ({word})" if word else ""))


def _about_request(text: str) -> tuple[str, str] | None:
    """The code and meaning of a refusal that is about this one request, whatever endpoint it goes to."""
    if _CONTEXT.search(text):
        return "context_length", "finds the request too long"
    if _CONTENT.search(text):
        return "content_filter", "refuses the request for its content"
    return None


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
        case 413:
            return "context_length", "finds the request too long"
        case _ if status >= 500:
            return "unavailable", "is out of order"
        case _ if status >= 400:
            return "bad_request", "refuses the request"
        case _:
            return "bad_response", "gave an unexpected answer"


def _error_of(body: bytes) -> ServerError:
    """Google sends its errors as a list of one where no event stream was asked for."""
    found = [one for value in decoded(body.decode("utf-8", "replace")) for one in objects_of(value)]
    return next((error for value in found if (error := error_of(value)) is not None), ServerError())


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", text, re.ASCII) else None


def _until(date: str, now: str) -> float:
    try:
        return max(0.0, (parsedate_to_datetime(date) - parsedate_to_datetime(now)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
