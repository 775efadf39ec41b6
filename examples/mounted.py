"""An agent inside a FastAPI application: the page at /voice/, clients at /voice/v1/realtime, the rest is yours.

pip install fastapi uvicorn
uvicorn examples.mounted:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from examples.bakery import agent


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The engines are loaded before the first request and closed after the last session."""
    async with agent.lifespan():
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def index() -> dict[str, str]:
    return {"talk": "/voice/"}


@app.post("/ask")
async def ask(text: str) -> dict[str, object]:
    """The same agent, in writing."""
    async with agent.chat() as chat:
        reply = await chat.say(text)
    return {"answer": reply.text, "calls": [call.name for call in reply.calls]}


app.mount("/voice", agent.app)
