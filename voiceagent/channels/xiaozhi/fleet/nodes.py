"""The servers that devices are spread over. A device keeps its server as long as that one has room: its memory and the
list of its tools are there."""

import asyncio
import hashlib
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

import httpx
import msgspec

from voiceagent.channels.xiaozhi.settings import NodeSection

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""Between two looks at a server."""
ANSWER_SECONDS = 2.0
"""That a server has to answer."""
MAX_MISSED = 2
"""Looks in a row without an answer that a server may miss."""
MAX_HEALTH = 16 * 1024


class Node:
    """One server, and what was last seen of it. It counts as open until it has been looked at."""

    def __init__(self, section: NodeSection) -> None:
        self.url = section.url
        self.weight = section.weight
        self.health_url = section.health_url
        self.open = True
        self._sessions = section.sessions
        self._missed = 0

    def seen(self, status: int, sessions: int) -> None:
        self._missed = 0
        self._set(status == 200 and sessions < self._sessions)

    def missed(self) -> None:
        self._missed += 1
        if self._missed >= MAX_MISSED:
            self._set(False)

    def _set(self, is_open: bool) -> None:
        if is_open != self.open:
            log.info("node %s: %s", self.url, "takes devices" if is_open else "takes no more devices")
        self.open = is_open


class Nodes:
    def __init__(self, sections: Sequence[NodeSection]) -> None:
        self.all = [Node(section) for section in sections]

    def choose(self, device_id: str) -> str | None:
        """The address for this device, None when there are no nodes. With all of them closed it is the device's usual
        one, since without any a device could not even say that there is no room."""
        candidates = [node for node in self.all if node.open] or self.all
        return max(candidates, key=lambda node: score(node, device_id)).url if candidates else None

    async def watch(self) -> None:
        """Look at each node again and again, until cancelled."""
        if not self.all:
            return
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as http, asyncio.TaskGroup() as tasks:
            for node in self.all:
                tasks.create_task(_watch(node, http), name="xiaozhi node")


def score(node: Node, device_id: str) -> float:
    """The highest of all nodes' has the device (rendezvous hashing). One that goes takes only its own devices away;
    each has its weight's share of them."""
    digest = hashlib.sha256(f"{node.url} {device_id}".encode()).digest()
    fraction = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 2)
    return -node.weight / math.log(fraction)


async def _watch(node: Node, http: httpx.AsyncClient) -> None:
    while True:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                node.seen(*await _look(node.health_url, http))
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError):
            node.missed()
        await asyncio.sleep(POLL_SECONDS)


async def _look(url: str, http: httpx.AsyncClient) -> tuple[int, int]:
    """A server's status and its sessions. Raises ValueError for what is no answer of our /healthz."""
    async with http.stream("GET", url) as response:
        body = b""
        async with aclosing(cast(AsyncGenerator[bytes, None], response.aiter_bytes())) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_HEALTH:
                    raise ValueError("too long")
        told = msgspec.json.decode(body) if response.status_code == 200 else {}
        sessions = told.get("sessions") if isinstance(told, dict) else None
        return response.status_code, sessions if isinstance(sessions, int) else 0
