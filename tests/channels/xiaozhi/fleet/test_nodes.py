"""Which server a device is sent to."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from voiceagent.channels.xiaozhi.fleet import nodes as xiaozhi_nodes
from voiceagent.channels.xiaozhi.fleet.nodes import MAX_MISSED, Node, Nodes
from voiceagent.channels.xiaozhi.settings import NodeSection

FLEET = [f"a0:b1:c2:d3:{number >> 8:02x}:{number & 255:02x}" for number in range(4000)]


def nodes(*weights: float) -> Nodes:
    return Nodes([NodeSection(url=f"http://n{index}.example", weight=weight) for index, weight in enumerate(weights)])


def test_each_gets_its_weight_s_share() -> None:
    counts = Counter(nodes(1, 2, 1).choose(mac) for mac in FLEET)
    assert 900 < counts["http://n0.example"] < 1100
    assert 1850 < counts["http://n1.example"] < 2150
    assert 900 < counts["http://n2.example"] < 1100


def test_who_goes_takes_only_its_own_devices_away_and_gets_them_back() -> None:
    three = nodes(1, 1, 1)
    before = {mac: three.choose(mac) for mac in FLEET}
    three.all[1].seen(503, 0)
    after = {mac: three.choose(mac) for mac in FLEET}
    assert {before[mac] for mac in FLEET if before[mac] != after[mac]} == {"http://n1.example"}
    assert "http://n1.example" not in after.values()
    three.all[1].seen(200, 5)
    assert {mac: three.choose(mac) for mac in FLEET} == before


def test_a_full_one_gets_nobody_and_one_miss_is_forgiven() -> None:
    node = Node(NodeSection(url="http://a.example", sessions=10))
    node.seen(200, 10)
    assert not node.open
    node.seen(200, 9)
    assert node.open
    for _ in range(MAX_MISSED - 1):
        node.missed()
    assert node.open
    node.missed()
    assert not node.open


def test_where_all_are_closed_a_device_is_still_told_one() -> None:
    two = nodes(1, 1)
    usual = two.choose(FLEET[0])
    for node in two.all:
        node.seen(503, 0)
    assert two.choose(FLEET[0]) == usual
    assert Nodes([]).choose(FLEET[0]) is None


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[str]:
    """A server that says the same to everybody, and goes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        if reply:
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("reply", "is_open"),
    [
        (http("200 OK", json.dumps({"status": "ok", "sessions": 3}).encode()), True),
        (http("200 OK", json.dumps({"status": "ok", "sessions": 30}).encode()), False),
        (http("503 Service Unavailable", json.dumps({"status": "draining", "sessions": 3}).encode()), False),
        (http("200 OK", b"{"), False),
        (http("200 OK", b"[" * 5000), False),
        (http("200 OK", b" " * 100_000), False),
        (http("301 Moved", b""), False),
        (b"nonsense\r\n\r\n", False),
        (b"", False),
    ],
)
async def test_a_server_is_asked_how_it_is(reply: bytes, is_open: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xiaozhi_nodes, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(xiaozhi_nodes, "ANSWER_SECONDS", 0.3)
    async with answering(reply) as url:
        watched = Nodes([NodeSection(url=url, sessions=30)])
        watched.all[0].open = not is_open
        watching = asyncio.create_task(watched.watch())
        async with asyncio.timeout(10):
            while watched.all[0].open != is_open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
