"""A conversation in writing: over the real session, with a scripted model behind a socket."""

import asyncio

import pytest

from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent import Agent, Caller, ChatClosed, ConfigError, EngineError, tool

HOURS = {"monday": "closed", "saturday": "7 to 12"}


@tool
async def opening_hours(day: str) -> str:
    """Tells when the bakery is open.

    Args:
        day: A day of the week, in English.
    """
    return HOURS.get(day.lower(), "6 to 18")


def agent_of(server: ScriptedLlm, **more: object) -> Agent:
    llm = {"engine": "openai", "base_url": server.base_url, "model": "scripted", "api_key": "sk-test"}
    return Agent("You answer for a bakery.", llm=llm, tools=[opening_hours], **more)  # type: ignore[arg-type]


async def test_chat_answers_and_remembers_the_turns_before() -> None:
    async with ScriptedLlm(["Hello.", "Your name is Anna."]) as server, agent_of(server).chat() as chat:
        first = await chat.say("I am Anna.")
        second = await chat.say("Who am I?")
    assert (first.text, second.text, first.calls) == ("Hello.", "Your name is Anna.", ())
    messages = server.requests[-1].messages
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"] == "You answer for a bakery."
    assert messages[2]["content"] == "Hello."


async def test_chat_runs_tools_and_shows_their_calls() -> None:
    script: list[Reply | str] = [
        Reply("Let me look.", calls=[("opening_hours", '{"day": "Monday"}')]),
        "We are closed on Monday.",
    ]
    async with ScriptedLlm(script) as server, agent_of(server).chat() as chat:
        reply = await chat.say("When are you open on Monday?")
    assert reply.text == "Let me look. We are closed on Monday."
    [call] = reply.calls
    assert (call.name, call.arguments, call.result, call.failed) == (
        "opening_hours",
        {"day": "Monday"},
        "closed",
        False,
    )
    assert reply.timings.first_text_ms is not None
    assert 0 <= reply.timings.first_text_ms <= reply.timings.total_ms
    assert server.requests[0].body["tools"][0]["function"]["name"] == "opening_hours"  # type: ignore[index]


async def test_chat_shows_what_is_wrong_with_a_call() -> None:
    script: list[Reply | str] = [Reply("", calls=[("opening_hours", '{"week": 1}'), ("sing", "{}")]), "Sorry."]
    async with ScriptedLlm(script) as server, agent_of(server).chat() as chat:
        reply = await chat.say("Sing.")
    assert [(call.name, call.failed) for call in reply.calls] == [("opening_hours", True), ("sing", True)]
    assert "wrong arguments" in reply.calls[0].result


async def test_chat_raises_the_failure_of_the_model_and_goes_on() -> None:
    script: list[Reply | str] = [Reply(status=401, error={"error": {"message": "no"}}), "Here I am."]
    async with ScriptedLlm(script) as server, agent_of(server).chat() as chat:
        with pytest.raises(EngineError) as raised:
            await chat.say("Hello?")
        assert (raised.value.stage, raised.value.code) == ("llm", "unauthorized")
        assert (await chat.say("Hello?")).text == "Here I am."


async def test_chat_gives_up_a_slow_answer_and_goes_on() -> None:
    script: list[Reply | str] = [Reply("Never.", first_token_seconds=30), "Here I am."]
    async with ScriptedLlm(script) as server, agent_of(server).chat() as chat:
        with pytest.raises(TimeoutError):
            await chat.say("Hello?", timeout_seconds=0.3)
        await server.disconnected(1)
        assert (await chat.say("Hello?")).text == "Here I am."


async def test_chat_that_is_closed_says_so() -> None:
    async with ScriptedLlm() as server:
        async with agent_of(server).chat() as chat:
            await chat.say("Hello?")
        with pytest.raises(ChatClosed):
            await chat.say("Hello?")


async def test_chat_tells_an_answer_cut_short() -> None:
    async with ScriptedLlm([Reply("One two", finish_reason="length")]) as server, agent_of(server).chat() as chat:
        reply = await chat.say("Count.")
    assert (reply.text, reply.finish) == ("One two", "max_output_tokens")


async def test_chat_of_several_at_once_is_in_order() -> None:
    async with ScriptedLlm(["One.", "Two."]) as server, agent_of(server).chat() as chat:
        replies = await asyncio.gather(chat.say("First."), chat.say("Second."))
    assert [reply.text for reply in replies] == ["One.", "Two."]


async def test_chat_fills_the_instructions_and_tells_tools_who_calls() -> None:
    seen: list[Caller] = []

    def who(caller: Caller) -> str:
        seen.append(caller)
        return caller.user

    script: list[Reply | str] = [Reply("", calls=[("who", "{}")]), "You are Anna."]
    async with ScriptedLlm(script) as server:
        llm = {"engine": "openai", "base_url": server.base_url, "model": "scripted"}
        agent = Agent("You work for {{shop}}.", llm=llm, tools=[who])
        async with agent.chat(user="anna", variables={"shop": "a bakery"}) as chat:
            reply = await chat.say("Who am I?")
    assert reply.calls[0].result == "anna"
    assert seen[0].user == "anna"
    assert server.requests[0].messages[0]["content"].startswith("You work for a bakery.")


def test_agent_with_a_function_without_types_is_refused() -> None:
    def broken(day) -> str:  # type: ignore[no-untyped-def]
        return ""

    with pytest.raises(ConfigError, match="day has no type"):
        Agent(tools=[broken])


async def test_agent_with_a_wrong_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="not installed"):
        async with Agent(llm="nosuch").chat():
            pass


async def test_agent_with_wrong_settings_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"server\.prot"):
        async with Agent(settings={"server": {"prot": 1}}).chat():
            pass
