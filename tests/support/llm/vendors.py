"""One language model of each dialect over a scripted server, for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.llm.server import Script, ScriptedLlm
from tests.support.llm.wires import ChatWire, ContentsWire, MessagesWire, Wire
from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEvent, LlmRequest, Message, TextDelta, Thinking, ToolCall, ToolSpec
from voiceagent.llm.dialects.anthropic import AnthropicLlm
from voiceagent.llm.dialects.anthropic_stream import MessagesReader
from voiceagent.llm.dialects.chat import ChatReader
from voiceagent.llm.dialects.gemini import ContentsReader, GeminiLlm
from voiceagent.llm.dialects.openai import OpenAILlm
from voiceagent.llm.remote import RemoteLlm
from voiceagent.models.store import ModelStore

WEATHER = ToolSpec("weather", "By city", {"type": "object", "properties": {"city": {"type": "string"}}})
HI = LlmRequest((Message("system", "Be brief."), Message("user", "你好")), tools=(WEATHER,))


@dataclass(frozen=True)
class Vendor:
    engine: type[OpenAILlm] | type[AnthropicLlm] | type[GeminiLlm]
    reader: type[ChatReader] | type[MessagesReader] | type[ContentsReader]
    wire: Wire

    def make(self, base_url: str, **options: object) -> RemoteLlm:
        given = {"base_url": base_url, "api_key": "sk-1", "model": "m", **options}
        return self.engine(self.engine.Options.model_validate(given), ModelStore(Path("none")))  # type: ignore[arg-type]


VENDORS = {
    "openai": Vendor(OpenAILlm, ChatReader, ChatWire()),
    "anthropic": Vendor(AnthropicLlm, MessagesReader, MessagesWire()),
    "gemini": Vendor(GeminiLlm, ContentsReader, ContentsWire()),
}


@asynccontextmanager
async def talking(vendor: Vendor, script: Script, **options: object) -> AsyncIterator[tuple[RemoteLlm, ScriptedLlm]]:
    async with ScriptedLlm(script, vendor.wire) as server:
        llm = vendor.make(server.base_url, **options)
        await llm.open()
        try:
            yield llm, server
        finally:
            await llm.close()


async def events(llm: RemoteLlm, request: LlmRequest = HI) -> list[LlmEvent]:
    return together([event async for event in llm.reply(request)])


def together(events: Sequence[LlmEvent]) -> list[LlmEvent]:
    """Pieces of text and of reasoning joined, signs of work left out, invented ids made one."""
    joined: list[LlmEvent] = []
    for event in events:
        match event, joined[-1] if joined else None:
            case Thinking(""), _:
                pass
            case TextDelta(text), TextDelta(before):
                joined[-1] = TextDelta(before + text)
            case Thinking(text), Thinking(before):
                joined[-1] = Thinking(before + text)
            case ToolCall() as call, _:
                assert call.id
                joined.append(replace(call, id="call"))
            case _:
                joined.append(event)
    return joined


async def failure(llm: RemoteLlm, request: LlmRequest = HI) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await events(llm, request)
    assert caught.value.stage == "llm"
    assert "secret" not in caught.value.message
    return caught.value
