"""The agent in writing: the real conversation, without sound. Run it with pytest."""

import asyncio

from agent import agent, opening_hours


def test_opening_hours_of_monday() -> None:
    assert asyncio.run(opening_hours("Monday")) == "closed"


def test_agent_answers() -> None:
    async def converse() -> None:
        async with agent.chat() as chat:
            reply = await chat.say("When are you open on Monday?")
        assert reply.text
        # With a model that calls tools:
        # assert [(call.name, call.arguments) for call in reply.calls] == [("opening_hours", {"day": "Monday"})]
        # assert "closed" in reply.text.lower()

    asyncio.run(converse())
