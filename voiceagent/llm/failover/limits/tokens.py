"""Estimate of how many tokens a text is, without its model's tokenizer: near enough to keep a limit."""

import json
import math
import re

from voiceagent.llm.base import LlmRequest

MESSAGE_TOKENS = 4
"""What a message costs beside its text: its role and its marks."""
ANSWER_TOKENS = 150
"""A spoken answer, where a request sets no limit: some 40 seconds of speech."""
LONG_WORD = 10
"""Letters of an English word that are one token; measured on o200k, where 134 letters of long words were 16 tokens."""

_PIECES = re.compile(
    r"(?P<word>[A-Za-z]+(?:'[a-z]+)?)"
    r"|(?P<digits>\s?\d+)"
    r"|(?P<wide>[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff])"
    r"|(?P<other>[^\W\d_a-zA-Z\u2e80-\u9fff\uac00-\ud7af]+)"
    r"|(?P<marks>[!-/:-@\[-`{-~]+)"
    r"|(?P<rest>\S)"
)


def text_tokens(text: str) -> int:
    """An estimate. Measured against o200k: English 1.0, Chinese 1.3, JSON 1.3, numbers 0.9 times the truth; older
    tokenizers (cl100k) make up to 1.25 tokens of a Chinese character, which counts as one here."""
    return sum(_cost(match.lastgroup, match.end() - match.start()) for match in _PIECES.finditer(text))


def prompt_tokens(request: LlmRequest) -> int:
    """What the messages and the tools of a request come to."""
    count = MESSAGE_TOKENS
    for message in request.messages:
        count += MESSAGE_TOKENS + text_tokens(message.content)
        count += sum(text_tokens(call.name) + text_tokens(call.arguments) for call in message.tool_calls)
    for tool in request.tools:
        schema = json.dumps(dict(tool.parameters), ensure_ascii=False) if tool.parameters is not None else ""
        count += MESSAGE_TOKENS + text_tokens(tool.name) + text_tokens(tool.description) + text_tokens(schema)
    return count


def answer_tokens(request: LlmRequest, usual: int = ANSWER_TOKENS) -> int:
    """The most the answer may come to as the request says, else `usual`."""
    return request.max_tokens or usual


def request_tokens(request: LlmRequest, usual_answer: int = ANSWER_TOKENS) -> int:
    """What to ask a Gate for: the prompt, and a usual answer or less where the request allows only less."""
    return prompt_tokens(request) + min(answer_tokens(request, usual_answer), usual_answer)


def _cost(kind: str | None, length: int) -> int:
    match kind:
        case "word":
            return math.ceil(length / LONG_WORD)
        case "digits" | "other":
            return math.ceil(length / 3)
        case "marks":
            return math.ceil(length / 2)
        case _:
            return 1
