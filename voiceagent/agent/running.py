"""Runner of an agent's server: says where it listens and what leaves the machine, and serves until it is stopped."""

import asyncio
import logging
import sys
import threading
import webbrowser
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from voiceagent.server.reach import StageReach, is_loopback, reach
from voiceagent.server.serve import serve
from voiceagent.settings import Settings

if TYPE_CHECKING:
    from voiceagent.agent.agent import Agent

log = logging.getLogger(__name__)

LISTENING = "listening on "
"""How the server's first line on its standard output begins; the address for Realtime clients follows."""


def run(agent: "Agent", *, host: str | None = None, port: int | None = None, open_page: bool = False) -> None:
    """Serve an agent. Blocks. Once conversations can begin, standard output gets the addresses and a line for each
    stage; the log says before what is being loaded. Raises ConfigError, EngineError, and groups of them."""
    settings = agent.settings()
    changes = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"server": settings.server.model_copy(update=changes)})
    log_to_stderr(settings.server.log_level)
    voice = agent.server(settings)
    stages = reach(settings, agent.given())

    def ready(url: str) -> None:
        for line in announcement(url, settings, stages):
            print(line, flush=True)
        if is_open_to_all(settings):
            log.warning(
                "listening on %s without keys: everybody who reaches this machine may talk; set limits.api_keys",
                settings.server.host,
            )
        if open_page and settings.page.enabled:
            threading.Thread(target=webbrowser.open, args=(page_address(url),), daemon=True).start()

    asyncio.run(serve(voice, on_ready=ready))


def announcement(url: str, settings: Settings, stages: Sequence[StageReach]) -> list[str]:
    """What is said once conversations can begin; `url` is the address for Realtime clients."""
    page = [f"page: {page_address(url)}"] if settings.page.enabled else []
    return [f"{LISTENING}{url}", *page, *map(str, stages)]


def page_address(url: str) -> str:
    """Where a browser on this machine finds the page of the server with this Realtime address."""
    parts = urlsplit(url)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(parts.hostname or "", parts.netloc.rpartition(":")[0])
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{host}:{parts.port}/"


def is_open_to_all(settings: Settings) -> bool:
    """Whether other machines may connect without a key."""
    return not settings.limits.api_keys and not is_loopback(settings.server.host)


def log_to_stderr(level: str) -> None:
    """One line an event; uvicorn's own chatter only when it matters. Neither secrets nor audio are ever logged."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "uvicorn.error", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for wordy in ("mcp", "client"):  # the package mcp logs messages that it cannot read as they are
        logging.getLogger(wordy).setLevel(logging.CRITICAL)
