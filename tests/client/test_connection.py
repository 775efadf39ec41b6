"""The client's connection: deadlines, drops, refusals and nonsense from the server, over real sockets on loopback."""

import asyncio
import json
import logging

import pytest
from voiceagent_client import wire
from voiceagent_client.connection import MAX_MESSAGE, Backoff, Dropped, RealtimeConnection
from voiceagent_client.errors import ConnectError, RefusedError
from voiceagent_client.wire import ServerEvent, SessionConfig

from tests.support.client_server import Call, RealtimeServer

QUICK = Backoff(first=0.01, longest=0.05, attempts=3)
SESSION = SessionConfig("Be brief.", "amy")


async def stay(call: Call) -> None:
    await call.open()
    await call.stay()


async def drop(call: Call) -> None:
    await call.open()
    await call.drop()


def kinds(events: list[ServerEvent | Dropped]) -> list[str]:
    return [event.type if isinstance(event, ServerEvent) else "dropped" for event in events]


async def listen(connection: RealtimeConnection, count: int) -> list[str]:
    """The kinds of the next events."""
    async with asyncio.timeout(10):
        return kinds([await anext(connection) for _ in range(count)])


async def test_opens_with_the_key_and_configures_the_session() -> None:
    async with (
        RealtimeServer(stay) as server,
        RealtimeConnection(server.url, key="sk-1", query={"model": "m"}, session=SESSION) as connection,
    ):
        assert await listen(connection, 2) == ["session.created", "session.updated"]
        request = server.requests[0]
        assert request.path == "/v1/realtime?model=m"
        assert request.headers["Authorization"] == "Bearer sk-1"
        assert "OpenAI-Beta" not in request.headers
        assert "Sec-WebSocket-Extensions" not in request.headers
        assert [json.dumps(event) for event in server.calls[0].received] == [
            json.dumps(json.loads(SESSION.update().encode()))
        ]


async def test_no_key_sends_no_header() -> None:
    async with RealtimeServer(stay) as server, RealtimeConnection(server.url):
        assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_tried_again_nor_repeated(status: int) -> None:
    async with RealtimeServer(stay, refuse=[status]) as server:
        with pytest.raises(RefusedError, match=f"refused the API key .HTTP {status}") as refused:
            async with RealtimeConnection(server.url + "?token=t0p", key="sk-secret"):
                pass
        assert len(server.requests) == 1
        assert "sk-secret" not in str(refused.value)
        assert "t0p" not in str(refused.value)


async def test_a_key_refused_on_the_way_back_ends_it() -> None:
    async with (
        RealtimeServer(drop, refuse=[0, 401]) as server,
        RealtimeConnection(server.url, backoff=QUICK) as connection,
    ):
        assert await listen(connection, 3) == ["session.created", "session.updated", "dropped"]
        with pytest.raises(RefusedError):
            await anext(connection)


async def test_a_first_connection_is_tried_once() -> None:
    async with RealtimeServer(stay, refuse=[503]) as server:
        url = server.url
        with pytest.raises(ConnectError, match="HTTP 503"):
            async with RealtimeConnection(url):
                pass
        assert len(server.requests) == 1
    with pytest.raises(ConnectError, match="cannot reach ws://127"):
        async with RealtimeConnection(url):
            pass


async def test_a_server_that_accepts_and_never_answers() -> None:
    async def silent(call: Call) -> None:
        await call.stay()

    async with RealtimeServer(silent) as server:
        with pytest.raises(ConnectError, match=r"did not answer within 0\.2 s"):
            async with RealtimeConnection(server.url, open_timeout=0.2):
                pass


async def test_a_port_that_never_says_a_word() -> None:
    taken: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: taken.append(writer), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match="did not answer"):
            async with RealtimeConnection(f"ws://127.0.0.1:{port}", open_timeout=0.2):
                pass
        for writer in taken:
            writer.close()
            await writer.wait_closed()


async def test_a_port_that_speaks_something_else() -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail ready\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match="does not answer as a WebSocket server"):
            async with RealtimeConnection(f"ws://127.0.0.1:{port}"):
                pass


async def test_a_session_refused_in_words() -> None:
    async def refuse(call: Call) -> None:
        await call.send("error", error={"type": "invalid_request_error", "code": "model_not_found", "message": "?"})

    async def close(call: Call) -> None:
        await call.socket.close(1008)

    async with RealtimeServer(refuse, close) as server:
        with pytest.raises(ConnectError, match="model_not_found"):
            async with RealtimeConnection(server.url):
                pass
        with pytest.raises(ConnectError, match=r"closed the connection at once .code 1008"):
            async with RealtimeConnection(server.url):
                pass


async def test_after_a_drop_the_session_is_configured_again() -> None:
    async with (
        RealtimeServer(drop, stay) as server,
        RealtimeConnection(server.url, session=SESSION, backoff=QUICK) as connection,
    ):
        assert await listen(connection, 5) == [
            "session.created",
            "session.updated",
            "dropped",
            "session.created",
            "session.updated",
        ]
        assert server.calls[0].received == server.calls[1].received
        assert server.calls[1].received[0]["type"] == "session.update"


async def test_a_changed_configuration_is_the_one_sent_again() -> None:
    async def drop_after_change(call: Call) -> None:
        await call.open()
        await call.expect("session.update")
        await call.drop()

    async with (
        RealtimeServer(drop_after_change, stay) as server,
        RealtimeConnection(server.url, backoff=QUICK) as connection,
    ):
        assert await connection.configure(SESSION)
        await listen(connection, 5)
        assert server.calls[1].received[0] == json.loads(SESSION.update().encode())


async def test_nothing_is_sent_while_there_is_no_connection() -> None:
    async with (
        RealtimeServer(drop) as server,
        RealtimeConnection(server.url, backoff=Backoff(first=60, longest=60)) as connection,
    ):
        assert await listen(connection, 3) == ["session.created", "session.updated", "dropped"]
        assert not await connection.send(wire.response_create())


async def test_gives_up_after_so_many_attempts() -> None:
    async with (
        RealtimeServer(drop, refuse=[0, 503, 500, 429]) as server,
        RealtimeConnection(server.url, backoff=QUICK) as connection,
    ):
        assert await listen(connection, 5) == ["session.created", "session.updated", "dropped", "dropped", "dropped"]
        with pytest.raises(ConnectError, match=r"lost, after 3 attempts: .*HTTP 429"):
            await anext(connection)
        assert len(server.requests) == 4


async def test_a_server_that_always_drops_is_given_up_too() -> None:
    async with RealtimeServer(drop) as server, RealtimeConnection(server.url, backoff=QUICK) as connection:
        with pytest.raises(ConnectError, match="lost"):
            async for _ in connection:
                pass
        assert len(server.calls) == 4


async def test_a_connection_that_held_starts_the_count_again() -> None:
    steady = Backoff(first=0.01, longest=0.05, attempts=1, steady=0.0)
    async with RealtimeServer(drop, drop, drop, stay) as server:
        async with RealtimeConnection(server.url, backoff=steady) as connection:
            found = await listen(connection, 11)
        assert found.count("dropped") == 3
        assert len(server.calls) == 4


async def test_a_session_ended_by_the_server_is_over() -> None:
    async def finish(call: Call) -> None:
        await call.open()

    async with RealtimeServer(finish) as server, RealtimeConnection(server.url) as connection:
        async with asyncio.timeout(10):
            assert kinds([event async for event in connection]) == ["session.created", "session.updated"]
        assert not await connection.send(wire.response_create())


@pytest.mark.parametrize("code", [3000, 3003])
async def test_an_unwanted_client_stays_away(code: int) -> None:
    async def close(call: Call) -> None:
        await call.open()
        await call.socket.close(code)

    async with RealtimeServer(close) as server, RealtimeConnection(server.url) as connection:
        with pytest.raises(RefusedError, match=str(code)):
            async for _ in connection:
                pass


async def test_nonsense_is_ignored_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def babble(call: Call) -> None:
        await call.open()
        for message in (
            "{",
            "[]",
            b"\x00" * 100,
            '{"type":null}',
            '{"type":"voiceagent.new","x":[' + "1," * 1_000_000 + "1]}",
        ):
            await call.raw(message)
        await call.send("rate_limits.updated", rate_limits=[])
        await call.stay()

    async with RealtimeServer(babble) as server, RealtimeConnection(server.url) as connection:
        with caplog.at_level(logging.WARNING, "voiceagent_client"):
            assert await listen(connection, 4) == [
                "session.created",
                "session.updated",
                "voiceagent.new",
                "rate_limits.updated",
            ]
    assert len(caplog.records) == 1


async def test_a_message_beyond_all_bounds_costs_the_connection_only() -> None:
    async def flood(call: Call) -> None:
        await call.open()
        await call.raw("x" * (MAX_MESSAGE + 1))
        await call.stay()

    async with RealtimeServer(flood, stay) as server, RealtimeConnection(server.url, backoff=QUICK) as connection:
        assert (await listen(connection, 5))[2:] == ["dropped", "session.created", "session.updated"]


def test_backoff_grows_to_its_bound() -> None:
    backoff = Backoff(first=0.5, longest=15.0)
    for attempt in range(50):
        full = min(15.0, 0.5 * 2.0**attempt)
        assert full / 2 <= backoff.delay(attempt) <= full
