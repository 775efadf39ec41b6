"""`voiceagent chat`: a conversation with an agent in writing, in a terminal or from lines of standard input."""

import asyncio
import json
import logging
import sys
import threading
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from voiceagent.errors import EngineError, Refused

if TYPE_CHECKING:
    from voiceagent.agent.agent import Agent
    from voiceagent.agent.chat import ChatCall, ChatReply

RESULT_CHARS = 200
"""The most that is shown of a tool's result."""


def chat(
    agent: Annotated[
        str | None, typer.Argument(metavar="[AGENT.py]", help="A Python file with an Agent; ./agent.py without one.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The TOML file; the environment wins over it.")
    ] = None,
    user: Annotated[str, typer.Option(help="Whose memory the conversation has; nobody's without a name.")] = "",
) -> int:
    """Hold a conversation in writing: the answers, the tools that were called, and how long it took. Ctrl-D ends it.

    Without a terminal each line of standard input is said, and the answers are printed. Returns 1 when an answer
    failed. Raises ConfigError.
    """
    from voiceagent.agent.finding import chosen_agent

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    chosen = chosen_agent(agent, config)
    try:
        return asyncio.run(_converse(chosen, user, Console(highlight=False, soft_wrap=True)))
    except KeyboardInterrupt:
        return 0


async def _converse(agent: "Agent", user: str, console: Console) -> int:
    terminal = sys.stdin.isatty()
    failed = False
    with console.status("loading the model") if terminal else nullcontext():
        stack = AsyncExitStack()
        chat = await stack.enter_async_context(agent.chat(user=user))
    async with stack:
        while (line := await _line("you> " if terminal else "")) is not None:
            if not line.strip():
                continue
            try:
                with console.status("…") if terminal else nullcontext():
                    reply = await chat.say(line)
            except (EngineError, Refused, TimeoutError) as error:
                failed = True
                told = str(error) or "no answer in time"
                Console(stderr=True, soft_wrap=True).print(f"[red]error:[/] {escape(told)}", highlight=False)
                continue
            show(reply, console, terminal)
    return 1 if failed and not terminal else 0


def show(reply: "ChatReply", console: Console, terminal: bool) -> None:
    """The tools that were called, then the answer and, in a terminal, its timings."""
    for call in reply.calls:
        colour = "red" if call.failed else "yellow"
        console.print(f"[{colour}]tool[/]  {escape(call_line(call))}")
    console.print(f"[green]agent[/] {escape(reply.text)}")
    if reply.finish != "completed":
        console.print(f"[red]      cut short: {reply.finish}[/]")
    if terminal:
        first = reply.timings.first_text_ms
        words = "no words" if first is None else f"first words after {first} ms"
        console.print(f"[dim]      {words}, all after {reply.timings.total_ms} ms[/]")


def call_line(call: "ChatCall") -> str:
    """Such as `opening_hours(day="Monday") -> closed (3 ms)`."""
    arguments = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items())
    result = " ".join(call.result.split())
    if len(result) > RESULT_CHARS:
        result = f"{result[:RESULT_CHARS]}…"
    return f"{call.name}({arguments}) -> {result} ({call.ms} ms)"


async def _line(prompt: str) -> str | None:
    """The next line of standard input; None at its end. It is read in a thread that keeps nothing from ending."""
    loop = asyncio.get_running_loop()
    read: asyncio.Future[str | None] = loop.create_future()

    def settle(line: str | None) -> None:
        if not read.done():
            read.set_result(line)

    def work() -> None:
        try:
            line: str | None = input(prompt)
        except (EOFError, OSError, ValueError):  # the input is at its end, or closed
            line = None
        try:
            loop.call_soon_threadsafe(settle, line)
        except RuntimeError:  # the conversation is over, and its loop closed
            return

    threading.Thread(target=work, name="terminal", daemon=True).start()
    return await read
