"""A bakery on the telephone: tools that look things up, one that asks before it acts, and one that knows who calls.

voiceagent chat examples/bakery.py
voiceagent serve examples/bakery.py --open
"""

from typing import Literal

from voiceagent import Agent, Caller, ToolError, tool

HOURS = {"monday": "closed", "saturday": "7 to 12", "sunday": "8 to 11"}
PRICES = {"baguette": 1.4, "croissant": 1.9, "rye bread": 4.2}

orders: dict[str, list[str]] = {}
"""What was ordered, by session."""


@tool
async def opening_hours(day: str) -> str:
    """Tells when the bakery is open.

    Args:
        day: A day of the week, in English.
    """
    return HOURS.get(day.lower(), "6 to 18")


@tool
def price(item: Literal["baguette", "croissant", "rye bread"], count: int = 1) -> dict[str, float]:
    """Tells what something costs, in euros."""
    return {"each": PRICES[item], "total": round(PRICES[item] * count, 2)}


@tool(confirm=True, on_interrupt="keep")
async def order(item: Literal["baguette", "croissant", "rye bread"], count: int, caller: Caller) -> str:
    """Orders something to be fetched today.

    Args:
        count: How many, at most ten.
    """
    if not 1 <= count <= 10:
        raise ToolError("only one to ten can be ordered by telephone")
    orders.setdefault(caller.session, []).append(f"{count} {item}")
    return "ordered"


agent = Agent(
    instructions="You answer the telephone for a bakery. Be brief: one or two short sentences.",
    tools=[opening_hours, price, order],
)

if __name__ == "__main__":
    agent.serve(port=8000)
