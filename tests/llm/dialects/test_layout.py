"""Who speaks in which order in a request: for all servers, and for those with strict templates."""

import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.llm.server import ScriptedLlm
from tests.support.llm.vendors import VENDORS, Vendor, events, talking
from tests.support.llm.wires import Reply
from voiceagent.llm.base import LlmRequest, Message, TextDelta, ToolCall
from voiceagent.llm.dialects.layout import MessageLayout

SYSTEM, USER, ASSISTANT = (Message(role, f"{role}.") for role in ("system", "user", "assistant"))
CALL = Message("assistant", "", (ToolCall("call_1", "weather", "{}"),))
RESULT = Message("tool", "Rain.", (), "call_1")


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


def roles(server: ScriptedLlm) -> list[str]:
    return [message["role"].replace("model", "assistant") for message in server.requests[-1].messages]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((SYSTEM, ASSISTANT, USER), ["user", "assistant", "user"]),
        ((ASSISTANT, USER), ["user", "assistant", "user"]),
        ((SYSTEM, ASSISTANT), ["user", "assistant"]),
        ((SYSTEM,), ["user"]),
        ((SYSTEM, USER, USER), ["user"]),
        ((SYSTEM, USER, ASSISTANT, ASSISTANT, USER), ["user", "assistant", "user"]),
        ((SYSTEM, Message("user", " "), ASSISTANT, USER), ["user", "assistant", "user"]),
        ((SYSTEM, USER, Message("assistant", ""), USER), ["user"]),
    ],
)
async def test_the_user_begins_and_roles_alternate(
    vendor: Vendor, messages: tuple[Message, ...], expected: list[str]
) -> None:
    async with talking(vendor, ["Hi."]) as (llm, server):
        await events(llm, LlmRequest(messages))
        assert [role for role in roles(server) if role != "system"] == expected


async def test_words_before_a_call_are_one_message_with_it() -> None:
    async with talking(VENDORS["openai"], ["Hi."]) as (llm, server):
        await events(llm, LlmRequest((SYSTEM, USER, ASSISTANT, CALL, RESULT, USER)))
        assert roles(server) == ["system", "user", "assistant", "tool", "user"]
        calling = server.requests[-1].messages[2]
        assert (calling["content"], bool(calling["tool_calls"])) == ("assistant.", True)


def strict(messages: Sequence[dict[str, str]]) -> str:
    """What the template of Mistral's models has to say."""
    said = [message["role"] for message in messages]
    if "system" in said[1:]:
        return "Only the first message may have the role system"
    spoken = [role for role in said if role != "system"]
    for before, after in itertools.pairwise(["assistant", *spoken]):
        if after not in {"assistant": ("user", "tool"), "user": ("assistant",), "tool": ("assistant", "tool")}[before]:
            return "After the optional system message, conversation roles must alternate user/assistant/user/assistant"
    for message in messages:
        if message["role"] == "tool" and not re.fullmatch("[a-zA-Z0-9]{9}", message["tool_call_id"]):
            return "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9."
    return ""


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("no_system", [False, True])
async def test_a_strict_template_is_met_and_remembered(status: int, no_system: bool) -> None:
    def answer(messages: list[dict[str, str]]) -> Reply:
        why = strict(messages)
        if not why and no_system and messages[0]["role"] == "system":
            why = "System role not supported"
        return Reply(status=status, error={"error": {"message": f"Jinja Exception: {why}"}}) if why else Reply("Hi.")

    talk = (SYSTEM, ASSISTANT, USER, CALL, RESULT, USER, SYSTEM, USER)
    async with talking(VENDORS["openai"], answer) as (llm, server):
        for _ in range(2):
            assert TextDelta("Hi.") in await events(llm, LlmRequest(talk))
        *_, before_last, last = server.requests
        assert strict(last.messages) == strict(before_last.messages) == ""
        said = " ".join(message["content"] for message in last.messages)
        assert said.count("system.") == 2
        assert said.count("user.") == 3


async def test_an_error_of_the_servers_own_is_not_taken_for_one() -> None:
    refusal = Reply(status=500, error={"error": {"message": "temperature sensor"}})
    async with talking(VENDORS["openai"], [refusal], temperature=0.5) as (llm, server):
        with pytest.raises(Exception, match="HTTP 500"):
            await events(llm)
        assert len(server.requests) == 1


@given(st.lists(st.sampled_from([SYSTEM, USER, ASSISTANT, Message("user", "")]), max_size=8))
def test_every_conversation_alternates_and_keeps_its_words(messages: list[Message]) -> None:
    laid_out = MessageLayout("first").of(messages)
    spoken = [message.role for message in laid_out if message.role != "system"]
    assert spoken == [("user", "assistant")[place % 2] for place in range(len(spoken))]
    assert spoken
    for word in ("system.", "user.", "assistant."):
        count = sum(message.content == word for message in messages)
        assert sum(message.content.count(word) for message in laid_out) == count
