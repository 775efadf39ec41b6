"""A sentence said instead of an answer, in the language of the user."""

import re
from collections.abc import Mapping

from voiceagent.llm.base import LlmRequest

_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


def spoken(sentences: Mapping[str, str], request: LlmRequest) -> str:
    """The sentence of the caller's language (zh-CN, then zh); without one, Chinese where the user wrote Chinese; else
    English, else the first there is."""
    language = (request.caller.language or "").lower()
    if not language:
        words = next((message.content for message in reversed(request.messages) if message.role == "user"), "")
        language = "zh" if _CHINESE.search(words) else "en"
    lower = {name.lower(): sentence for name, sentence in sentences.items()}
    return lower.get(language) or lower.get(language.split("-")[0]) or lower.get("en") or next(iter(lower.values()))
