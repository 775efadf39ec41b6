"""Any language model behind OpenAI's `/chat/completions`: OpenAI's, Azure's, vLLM's, llama.cpp's, Ollama's."""

import os
import re
from typing import ClassVar
from urllib.parse import quote

from pydantic import Field

from voiceagent.llm.dialects.chat import ChatCompletions
from voiceagent.llm.dialects.markup import Habits
from voiceagent.llm.http import HttpOptions, key_from
from voiceagent.llm.remote import RemoteLlm
from voiceagent.models.store import ModelStore
from voiceagent.section import KeySecret, WebAddress

_THINKERS = re.compile(r"(?i)thinking|(?:^|[-_/:])r1(?:$|[-_:])|qwq|reasoner")
"""Models that always think, and whose templates open the thoughts themselves; where a server tells them apart, its
first answer shows it."""

OPENAI_URL = "https://api.openai.com/v1"


class OpenAILlmOptions(HttpOptions):
    """With `azure_api_version` the endpoint is Azure's: `base_url` is the resource
    (`https://NAME.openai.azure.com`), `model` the deployment, and the key goes by the header `api-key`."""

    home: ClassVar[str] = OPENAI_URL
    key_variable: ClassVar[str] = "OPENAI_API_KEY"

    base_url: WebAddress = Field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
    """The endpoint; `OPENAI_BASE_URL`, or OpenAI's own, without one."""
    api_key: KeySecret | None = Field(default_factory=lambda: key_from("OPENAI_API_KEY"))
    """The key; `OPENAI_API_KEY` without one."""
    model: str = Field(default_factory=lambda: os.environ.get("OPENAI_MODEL") or "gpt-4o-mini", min_length=1)
    """The model to ask for; `OPENAI_MODEL` without one."""
    azure_api_version: str | None = Field(default=None, pattern=r"^[0-9a-z.-]+$")
    """The endpoint is Azure's."""


class OpenAILlm(RemoteLlm):
    Options = OpenAILlmOptions

    def __init__(self, options: OpenAILlmOptions, models: ModelStore) -> None:
        dialect = _azure(options) if options.azure_api_version else _openai(options)
        super().__init__(options, dialect, Habits(begins_in_thought=_THINKERS.search(options.model) is not None))


def _openai(options: OpenAILlmOptions) -> ChatCompletions:
    return ChatCompletions(options, f"{options.base_url}/chat/completions", f"{options.base_url}/models")


def _azure(options: OpenAILlmOptions) -> ChatCompletions:
    start = f"{options.base_url.removesuffix('/openai')}/openai"
    version = f"?api-version={options.azure_api_version}"
    deployment = quote(options.model, safe="")
    return ChatCompletions(
        options, f"{start}/deployments/{deployment}/chat/completions{version}", f"{start}/models{version}", "api-key"
    )
