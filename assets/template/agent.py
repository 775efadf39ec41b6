"""An agent that answers for a bakery. Change the instructions and the tool, and it is yours."""

from pathlib import Path

from voiceagent import Agent, tool

HOURS = {"monday": "closed", "saturday": "7 to 12", "sunday": "8 to 11"}


@tool
async def opening_hours(day: str) -> str:
    """Tells when the bakery is open.

    Args:
        day: A day of the week, in English.
    """
    return HOURS.get(day.lower(), "6 to 18")


agent = Agent(
    instructions="You answer the telephone for a bakery. Be brief: one or two short sentences.",
    tools=[opening_hours],
    settings=Path(__file__).with_name("agent.toml"),
)

if __name__ == "__main__":
    agent.serve()
