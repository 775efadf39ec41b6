"""Endings of answers: what a vendor's word for why an answer ended means, the same in every dialect. Without I/O.

An answer is whole when its stream is over and either said why it ended or had its end mark (`[DONE]`, `message_stop`).
Words that tell of a failure make it broken off, however cleanly the stream closes.
"""

from typing import Literal

Reason = Literal["stop", "length", "content_filter", "tool_calls"]
BROKEN: Literal["broken"] = "broken"
Ending = Reason | Literal["broken"]

_STOP = ("stop", "eos", "end", "complete", "finish", "done", "normal", "success")
_CALLS = ("tool", "function_call")
_MALFORMED = ("malformed", "unexpected", "too_many", "missing_thought")
_FILTER = (
    "filter", "safety", "block", "prohibit", "sensitive", "polic", "refus", "moderat", "violat", "recitation",
    "guardrail", "spii", "language", "risk",
)  # fmt: skip
_LENGTH = ("length", "max_", "token", "context_window", "truncat")
_FAILED = (
    "error", "abort", "cancel", "fail", "timeout", "timed_out", "insufficient", "interrupt", "overload", "unavailable",
    "exception", "other", "kill", "disconnect", "crash", "preempt", "evict", "lost", "pause", "no_image", "incomplete",
    "unknown", "deadline", "exhaust", "reject", "shutdown",
)  # fmt: skip


def ending_of(word: str) -> Ending | None:
    """What a finish reason means; None where it says nothing. By the stems of what vendors send: OpenAI, Azure,
    DeepSeek (`insufficient_system_resource`), vLLM and SGLang (`abort`), Mistral (`model_length`, `error`), Zhipu
    (`sensitive`, `network_error`), Anthropic (`pause_turn`), Gemini (`OTHER`). A word that nothing is known of ends an
    answer as `stop` does: servers invent those more often than failures."""
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    if plain in ("", "null", "none", "undefined", "in_progress", "not_finished") or plain.endswith("unspecified"):
        return None
    if plain.startswith(_STOP):
        return "stop"
    if any(stem in plain for stem in _MALFORMED):
        return BROKEN
    if plain.startswith(_CALLS):
        return "tool_calls"
    if any(stem in plain for stem in _FILTER):
        return "content_filter"
    if any(stem in plain for stem in _LENGTH):
        return "length"
    return BROKEN if any(stem in plain for stem in _FAILED) else "stop"
