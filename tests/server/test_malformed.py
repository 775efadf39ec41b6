"""Broken, hostile and vanishing clients: the session goes on or is closed with the right code, nobody else notices."""

import asyncio
import base64
import contextlib
import gc
import json
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from websockets.frames import Close, Frame, Opcode

from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.running import running
from tests.support.session.bench import LoudnessVad
from tests.support.speech import EnginesFor, Speak, quiet
from tests.support.wire_client import (
    RawSocket,
    client_of,
    eventually,
    handshake,
    ping_frame,
    serving,
    text_frame,
    until_sessions,
)
from voiceagent.audio.pcm import to_bytes
from voiceagent.engines import Engines
from voiceagent.server import uvicorn_ext as sockets
from voiceagent.server.settings import AgentSection, LimitSection
from voiceagent.session.settings import DeadlineSection
from voiceagent.settings import Settings

pytestmark = pytest.mark.real

BLOCK_SECONDS = 0.05
"""The most processor time the loop may spend before others have their turn."""
TALE = "There was once a king who had a daughter. " * 12


@asynccontextmanager
async def undisturbed(url: str) -> AsyncIterator[None]:
    """Another session that is being talked to meanwhile: its speech comes whole, at its pace, and it can go on."""
    async with client_of(url) as other:
        answer = asyncio.create_task(other.type("Tell me a tale.", spoken=True))

        async def heard() -> bool:
            return answer.done() or other.audio_bytes() > 48_000

        try:
            await asyncio.sleep(0.3)
            yield
            await eventually(heard)
            assert not other.of("error")
            if not answer.done():
                await other.send("response.cancel")
            assert (await answer)["status"] in ("completed", "cancelled")
            await other.is_well()
        finally:
            answer.cancel()


class LoopWatch:
    """Measures the longest time for which the loop's thread computed without letting others run. It counts processor
    time, so that a busy machine does not matter."""

    worst = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            self.worst = max(self.worst, time.thread_time() - before)


@asynccontextmanager
async def unblocked() -> AsyncIterator[None]:
    gc.collect()
    gc.freeze()  # a full collection within would take longer than what is measured
    watch = LoopWatch()
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        gc.unfreeze()
    assert watch.worst < BLOCK_SECONDS


# -- what cannot be understood ----------------------------------------------------------------------------------------

APPEND = "input_audio_buffer.append"
DEEP = '{"type":"session.update","session":' + '{"a":' * 50_000 + "1" + "}" * 50_001

NONSENSE: list[tuple[str, str | bytes, str]] = [
    ("no JSON", "hello", "invalid_json"),
    ("half JSON", '{"type": "response.create"', "invalid_json"),
    ("empty", "", "invalid_json"),
    ("null", "null", "invalid_type"),
    ("array", "[1,2]", "invalid_type"),
    ("no type", "{}", "missing_required_parameter"),
    ("unknown type", '{"type":"no.such.event"}', "invalid_value"),
    ("type is a number", '{"type":7}', "invalid_value"),
    ("deep", DEEP, "invalid_json"),
    ("deep arrays", "[" * 100_000, "invalid_type"),
    ("wrong types", '{"type":"input_audio_buffer.append","audio":7}', "invalid_type"),
    ("bad base64", '{"type":"input_audio_buffer.append","audio":"***"}', "invalid_value"),
    ("odd audio", json.dumps({"type": APPEND, "audio": base64.b64encode(b"abc").decode()}), "invalid_value"),
    ("binary audio", b"\x00\x01" * 480, "invalid_message"),
    ("text in binary", b'{"type":"response.create"}', "invalid_message"),
    ("empty binary", b"", "invalid_message"),
    ("lone surrogate", '{"type":"conversation.item.create","item":{"type":"message","id":"\\ud800"}}', "invalid_json"),
    ("NUL outside a string", "\x00", "invalid_json"),
    ("huge number", '{"type":"conversation.item.truncate","item_id":"x","audio_end_ms":1e999}', "invalid_value"),
    ("no such item", '{"type":"conversation.item.retrieve","item_id":"x"}', "item_retrieve_invalid_item_id"),
    ("image", '{"type":"response.create","response":{"output_modalities":["image"]}}', "invalid_value"),
    ("long item", json.dumps({"type": "conversation.item.create", "item": {"type": "message", "role": "user",
     "content": [{"type": "input_text", "text": "x" * 200_000}]}}), "string_above_max_length"),
]  # fmt: skip


async def test_nonsense_is_answered_with_an_error_and_the_session_goes_on(engines_for: EnginesFor) -> None:
    async with (
        serving(engines_for, None, TALE, *["Hello."] * 99) as (_, url),
        undisturbed(url),
        client_of(url) as client,
        unblocked(),
    ):
        for number, (name, message, code) in enumerate(NONSENSE, 1):
            await client.connection.send(message)
            await client.until("error", number)
            assert client.errors()[-1] == code, name
            if isinstance(message, str) and len(message) > 6:
                assert message not in str(client.events[-1])
        await client.is_well()


async def test_odd_characters_in_words_are_words(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (_, url), client_of(url) as client:
        for text in ("\x00\x01\x02 NUL", "\U0001f468\u200d\U0001f469", "\u202eright to left", "你好\uffff", " "):
            assert (await client.type(text))["status"] == "completed"


async def test_invalid_utf8_closes_with_1007(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (_, url):
        async with RawSocket(url) as raw:
            await raw.upgrade()
            await raw.send(text_frame(b'{"type":"\xff\xfe"}'))
            assert Close(1007, "").serialize()[:2] in await raw.read_to_end()
        async with client_of(url) as client:
            await client.is_well()


async def test_broken_frames_close_with_1002(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (_, url):
        for broken in (b"\xff\xff\xff\xff", Frame(Opcode.TEXT, b"unmasked").serialize(mask=False), b"\x83\x80aaaa"):
            async with RawSocket(url) as raw:
                await raw.upgrade()
                await raw.send(broken)
                assert Close(1002, "").serialize()[:2] in await raw.read_to_end()
        async with client_of(url) as client:
            await client.is_well()


# -- too much ---------------------------------------------------------------------------------------------------------


async def test_an_append_beyond_the_limit_is_refused_without_holding_up_others(engines_for: EnginesFor) -> None:
    audio = base64.b64encode(bytes(16 * 1024 * 1024)).decode()
    frame = text_frame(json.dumps({"type": APPEND, "audio": audio, "event_id": "too much"}))
    async with (
        serving(engines_for, None, TALE, "Hello.") as (_, url),
        undisturbed(url),
        RawSocket(url) as raw,
        unblocked(),
    ):
        await raw.upgrade()
        await raw.send(frame)
        answer = await raw.read_until(b"too much")
        assert b"audio_too_large" in answer
        await raw.send(text_frame("{}"))
        assert b"missing_required_parameter" in await raw.read_until(b"missing_required_parameter")


async def test_the_largest_append_is_heard_without_holding_up_others(engines_for: EnginesFor, speak: Speak) -> None:
    """Fifteen megabytes are five minutes and a half of audio."""
    silent = np.zeros(15 * 1024 * 1024 // 2, np.int16)
    spoken = np.concatenate((quiet(0.3), speak("What is the capital of France?"), quiet(1.5)))
    silent[: len(spoken)] = spoken
    audio = base64.b64encode(to_bytes(silent)).decode()
    frame = text_frame(json.dumps({"type": APPEND, "audio": audio}))
    async with (
        serving(engines_for, None, TALE, "Paris.") as (_, url),
        undisturbed(url),
        RawSocket(url) as raw,
        unblocked(),
    ):
        await raw.upgrade()
        await raw.send(frame)
        assert b"input_audio_buffer.committed" in await raw.read_until(b"input_audio_buffer.committed")
        await raw.send(text_frame("{}"))
        await raw.read_until(b"missing_required_parameter")


async def test_a_frame_over_the_largest_size_closes_with_1009(engines_for: EnginesFor) -> None:
    settings = Settings(limits=LimitSection(message_bytes=100_000))
    async with serving(engines_for, settings) as (_, url):
        async with client_of(url) as client:
            with contextlib.suppress(ConnectionError):
                await client.connection.send(" " * 3_000_000)
            assert await client.closed() == 1009
        async with client_of(url) as client:  # in pieces, none of which is too large
            pieces = [" " * 60_000] * 3
            with contextlib.suppress(ConnectionError):
                await client.connection.send(pieces)
            assert await client.closed() == 1009
        async with client_of(url) as client:
            await client.is_well()


async def test_ten_thousand_tiny_events_in_a_burst(engines_for: EnginesFor) -> None:
    async with (
        serving(engines_for, None, TALE, "Hello.") as (_, url),
        undisturbed(url),
        RawSocket(url) as raw,
        unblocked(),
    ):
        await raw.upgrade()
        answers = asyncio.create_task(raw.read_until(b'"the last"'))
        await raw.send(text_frame("{}") * 10_000)
        await raw.send(text_frame('{"event_id":"the last"}'))
        assert (await answers).count(b'"type":"error"') == 10_001


async def test_a_flood_of_audio_is_refused_at_the_limit(engines_for: EnginesFor) -> None:
    """Eight minutes at once, in the format that needs the fewest bytes for them."""
    update = {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    minute = json.dumps({"type": APPEND, "audio": base64.b64encode(b"\xff" * 60 * 8_000).decode()})
    async with (
        serving(engines_for, None, TALE, "Hello.") as (_, url),
        undisturbed(url),
        RawSocket(url) as raw,
        unblocked(),
    ):
        await raw.upgrade()
        await raw.send(text_frame(json.dumps({"type": "session.update", "session": update})))
        answers = asyncio.create_task(raw.read_until(b'"the last"'))
        await raw.send(text_frame(minute) * 8 + text_frame('{"event_id":"the last"}'))
        told = await answers
        assert 1 <= told.count(b"input_audio_buffer_overflow") <= 3
        assert told.count(b'"type":"error"') == told.count(b"input_audio_buffer_overflow") + 1


async def test_a_ping_flood_is_answered_and_disturbs_nobody(engines_for: EnginesFor) -> None:
    async with (
        serving(engines_for, None, TALE, "Hello.") as (_, url),
        undisturbed(url),
        RawSocket(url) as raw,
        unblocked(),
    ):
        await raw.upgrade()
        answers = asyncio.create_task(raw.read_until(b'"the last"'))
        await raw.send(ping_frame() * 50_000)
        await raw.send(text_frame('{"event_id":"the last"}'))
        assert (await answers).count(b"\x8a\x00") >= 50_000


# -- clients that do not read -----------------------------------------------------------------------------------------


async def test_a_client_that_never_reads_is_let_go(engines_for: EnginesFor) -> None:
    create = {"type": "conversation.item.create", "item": {"id": "x", "type": "message", "role": "user",
              "content": [{"type": "input_text", "text": "x" * 90_000}]}}  # fmt: skip
    retrieve = text_frame('{"type":"conversation.item.retrieve","item_id":"x"}')
    async with serving(engines_for, None, TALE, "Hello.") as (_, url), undisturbed(url):
        async with RawSocket(url, receive_buffer=4096) as raw:
            await raw.upgrade()
            await raw.send(text_frame(json.dumps(create)))
            tracemalloc.start()
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    await raw.send(retrieve * 100)  # 9 MB of answers each
            await until_sessions(url, 1)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 150e6
            await raw.read_to_end()
        async with client_of(url) as client:
            await client.is_well()


async def forever(raw: RawSocket, data: bytes) -> None:
    """Send until the server's end is gone."""
    async with asyncio.timeout(20):
        while True:
            await raw.send(data)
            await asyncio.sleep(0.001)


async def test_a_client_that_pings_and_never_reads_is_let_go(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (_, url), RawSocket(url, receive_buffer=4096) as raw:
        await raw.upgrade()
        flood = ping_frame(b"x" * 125) * 1000
        with pytest.raises(ConnectionError):
            await forever(raw, flood)
        await until_sessions(url, 0)


async def test_the_socket_of_a_client_that_neither_reads_nor_closes_is_given_back(
    engines_for: EnginesFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open connection: the session ends for being idle, and the socket with unsent data does not stay."""
    monkeypatch.setattr(sockets, "LINGER_SECONDS", 0.2)
    settings = Settings(limits=LimitSection(idle_seconds=0.5))
    async with serving(engines_for, settings) as (_, url), RawSocket(url, receive_buffer=4096) as raw:
        await raw.upgrade()
        await raw.send(text_frame("{}") * 5_000)  # more answers than the socket's buffers take
        await until_sessions(url, 0)
        with pytest.raises(ConnectionError):
            await forever(raw, text_frame("{}"))


async def test_a_client_that_connects_and_says_nothing_is_let_go(
    engines_for: EnginesFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "REQUEST_SECONDS", 0.2)
    async with (
        serving(engines_for) as (_, url),
        RawSocket(url) as silent,
        RawSocket(url) as slow,
        client_of(url) as client,
    ):
        await slow.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz")
        assert (await slow.read_to_end()).count(b"HTTP/1.1 200") == 1
        assert await silent.read_to_end() == b""
        await asyncio.sleep(0.3)
        await client.is_well()  # whoever did shake hands stays


# -- clients that vanish ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "half-close"])
@pytest.mark.parametrize("phase", ["connecting", "upgrading", "silent", "speaking", "thinking", "being spoken to"])
async def test_a_client_that_vanishes_leaves_nothing_behind(
    engines_for: EnginesFor, speak: Speak, caplog: pytest.LogCaptureFixture, phase: str, how: str
) -> None:
    spoken = to_bytes(np.concatenate((quiet(0.2), speak("What time is it?"))))
    said = text_frame(json.dumps({"type": APPEND, "audio": base64.b64encode(spoken).decode()}))
    pause = text_frame(json.dumps({"type": APPEND, "audio": base64.b64encode(to_bytes(quiet(1.2))).decode()}))
    slow = phase == "thinking"
    async with serving(engines_for, None, Reply(TALE, first_token_seconds=5.0 if slow else 0.0)) as (voice, url):
        async with RawSocket(url) as raw:
            if phase == "connecting":
                await raw.send(b"GET /v1/realtime HTTP/1.1\r\nUpgr")
            elif phase == "upgrading":
                await raw.send(handshake())
            else:
                await raw.upgrade()
            match phase:
                case "speaking":
                    await raw.send(said)
                    await raw.read_until(b"speech_started")
                case "thinking":
                    await raw.send(said + pause)
                    await raw.read_until(b"response.created")
                case "being spoken to":
                    await raw.send(said + pause)
                    await raw.read_until(b"output_audio.delta")
            if how == "reset":
                raw.reset()
            else:
                raw.socket.shutdown(socket.SHUT_WR)
            await until_sessions(url, 0)
        assert not voice.admission.sessions
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_detector_that_breaks_ends_only_its_own_session(
    engines_for: EnginesFor, speak: Speak, caplog: pytest.LogCaptureFixture
) -> None:
    vad = LoudnessVad()
    async with ScriptedLlm(["Hello."]) as llm:
        real = engines_for(llm.base_url)
        async with (
            running(Settings(), Engines(vad, real.asr, real.llm, real.tts)) as (_, url),
            client_of(url) as other,
            client_of(url) as client,
        ):
            vad.fail = True
            await client.say(speak("Hello."))
            assert await client.closed() == 1011
            assert client.errors() == ["internal_error"]
            vad.fail = False
            await other.is_well()
    assert not [record for record in caplog.records if record.exc_info]
    assert len([record for record in caplog.records if "vad failed" in record.getMessage()]) == 1


async def test_deadlines_and_limits_do_not_depend_on_the_client(engines_for: EnginesFor) -> None:
    settings = Settings(
        agent=AgentSection(apology="Sorry."),
        limits=LimitSection(idle_seconds=0.3),
        deadlines=DeadlineSection(llm_first_token_seconds=0.2),
    )
    async with (
        serving(engines_for, settings, Reply("x", first_token_seconds=5)) as (_, url),
        client_of(url) as client,
    ):
        await client.send("response.create")
        assert await client.closed() == 1001
        assert client.errors() == ["session_idle"]
        done = client.of("response.done")[0]["response"]
        assert done["status_details"]["error"]["code"] == "llm_timeout"  # type: ignore[index]
