"""Talks with the running server are recorded: both sides as they were heard, and what happened."""

import asyncio
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.llm.server import Reply
from tests.support.speech import EnginesFor, Speak, quiet
from tests.support.wire_client import WireClient, client_of, eventually, serving
from voiceagent.audio.pcm import Pcm
from voiceagent.errors import ConfigError
from voiceagent.memory.sqlite import SqliteMemory, SqliteOptions
from voiceagent.recordings.settings import RecordingsSection
from voiceagent.recordings.sound import SoundFile
from voiceagent.recordings.store import RecordingStore
from voiceagent.report.page import render
from voiceagent.server.observer import ObservedMemoryRecorder
from voiceagent.session.commands import Command
from voiceagent.session.conversation import AnyItem, Item, Part
from voiceagent.session.events import Event
from voiceagent.settings import MemorySection, Settings

pytestmark = pytest.mark.real

LONG = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far."
)
FRAME = 480
"""Samples of 20 ms."""
Line = dict[str, object]


class Microphone:
    """Sends without a pause, as fast as it is spoken, silence where nothing is said."""

    def __init__(self, client: WireClient) -> None:
        self._client = client
        self._to_say = quiet(0)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            frame, self._to_say = self._to_say[:FRAME], self._to_say[FRAME:]
            await self._client.append(np.concatenate((frame, quiet((FRAME - len(frame)) / 24_000))).tobytes())
            due += FRAME / 24_000
            await asyncio.sleep(due - loop.time())

    def say(self, pcm: Pcm) -> None:
        self._to_say = np.concatenate((self._to_say, pcm))


@asynccontextmanager
async def speaking(client: WireClient) -> AsyncIterator[Microphone]:
    microphone = Microphone(client)
    running = asyncio.create_task(microphone.run())
    try:
        yield microphone
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def lines_of(store: RecordingStore) -> tuple[str, list[Line]]:
    """The only recording, once it is finished."""

    async def finished() -> bool:
        return [one.finished for one in store.sessions()] == [True]

    await eventually(finished)
    session = store.sessions()[0].session
    lines = store.lines(session)
    assert lines is not None
    return session, list(lines)


def of(lines: list[Line], kind: str) -> list[Line]:
    return [line for line in lines if line["type"] == kind]


def loud(sound: SoundFile, side: int) -> list[float]:
    """The seconds at which this side (0: the user, 1: the agent) begins and ends to be heard."""
    samples = np.abs(np.concatenate(list(sound.blocks()))[:, side].astype(np.int32))
    heard = np.flatnonzero(samples > 300) / sound.rate
    return [float(heard[0]), float(heard[-1])]


async def test_an_interrupted_talk_is_recorded_as_it_was_heard(
    engines_for: EnginesFor, speak: Speak, tmp_path: Path
) -> None:
    folder, memory = tmp_path / "talks", tmp_path / "memory.db"
    settings = Settings(recordings=RecordingsSection(path=str(folder)), memory=MemorySection(path=str(memory)))
    store = RecordingStore(folder, 30)
    async with serving(engines_for, settings, Reply(LONG), "Fine, I will stop.") as (_, url):
        async with client_of(url, user="ann") as client, speaking(client) as microphone:
            await client.send("session.update", session={"type": "realtime", "voiceagent": {"events": True}})
            microphone.say(np.concatenate((quiet(0.5), speak("Tell me all about the moon."))))
            await client.until("response.output_audio.delta", 40)
            microphone.say(speak("Stop, that is enough for now."))
            done = await client.until("response.done")
            item = done["response"]["output"][0]  # type: ignore[index]
            await client.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=2000)
            await client.until("conversation.item.truncated")
            await client.send("conversation.item.retrieve", item_id=item["id"])
            retrieved = await client.until("conversation.item.retrieved")
            heard = retrieved["item"]["content"][0]["transcript"]  # type: ignore[index]
            await client.until("response.done", 2)
            await client.until("voiceagent.response.played", 2)
        session, lines = await lines_of(store)
    assert 0 < len(heard) < len(LONG)
    noted = {str(line["item"]): line for line in of(lines, "item")}
    assert noted[item["id"]]["text"] == heard
    async with opened(memory) as kept:
        entries = await kept.recall("anyone/ann", 10)
    assert [entry.text for entry in entries] == [line["text"] for line in noted.values()]
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kinds = [str(line["type"]) for line in lines]
    assert kinds[0] == "talk"
    assert kinds[-1] == "end"
    assert of(lines, "interruption")[-1]["action"] == "confirm"
    assert [line["status"] for line in of(lines, "reply_done")] == ["cancelled", "completed"]
    sound_file = store.sound(session)
    assert sound_file is not None
    with SoundFile(sound_file) as sound:
        first, second = of(lines, "timeline")
        began = (int(first["from"]) + int(first["marks"]["first_audio"])) / 1000  # type: ignore[call-overload,index]
        agent = np.abs(np.concatenate(list(sound.blocks()))[:, 1].astype(np.int32))
        start = int(began * sound.rate)
        assert agent[: start - sound.rate // 20].max() == 0, "nothing before it was sent"
        assert agent[start : start + 2 * sound.rate].max() > 3000
        next_began = (int(second["from"]) + int(second["marks"]["first_audio"])) / 1000  # type: ignore[call-overload,index]
        silent = agent[start + int(2.05 * sound.rate) : int((next_began - 0.1) * sound.rate)]
        assert len(silent) > sound.rate // 2
        assert silent.max() == 0, "what was not heard is not there"
        spoken = loud(sound, 0)
        assert abs(spoken[0] - (int(first["from"]) + int(first["marks"]["onset"])) / 1000) < 0.5  # type: ignore[call-overload,index]


async def test_a_typed_talk_has_lines_and_no_sound(engines_for: EnginesFor, tmp_path: Path) -> None:
    settings = Settings(recordings=RecordingsSection(path=str(tmp_path)))
    async with serving(engines_for, settings, "你好。") as (_, url):
        async with client_of(url) as client:
            await client.type("你是谁？")
            await client.type("再见")
        session, lines = await lines_of(RecordingStore(tmp_path, 30))
    texts = {line["item"]: (line["role"], line["text"]) for line in of(lines, "item")}
    assert list(texts.values()) == [
        ("user", "你是谁？"),
        ("assistant", "你好。"),
        ("user", "再见"),
        ("assistant", "你好。"),
    ]
    assert lines[0]["session"] == session
    assert of(lines, "reply_done")[0]["status"] == "completed"
    assert RecordingStore(tmp_path, 30).sound(session) is None
    report = render(RecordingStore(tmp_path, 30), session)
    assert report is not None
    assert "你是谁？" in report


async def test_nothing_is_recorded_unless_that_is_configured(engines_for: EnginesFor, tmp_path: Path) -> None:
    async with serving(engines_for) as (voice, url), client_of(url) as client:
        await client.type("Hello.")
        assert voice.recordings is None
        assert all(thread.name != "recordings" for thread in threading.enumerate())


async def test_a_server_that_cannot_record_does_not_start(engines_for: EnginesFor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(recordings=RecordingsSection(path=str(tmp_path / "file" / "talks")))
    with pytest.raises(ConfigError, match=r"\[recordings\] path"):
        async with serving(engines_for, settings):
            pass


def test_onlookers_are_told_what_memory_is_told() -> None:
    class Looking:
        def __init__(self) -> None:
            self.items: list[AnyItem] = []

        def on_command(self, command: Command) -> None: ...

        def on_event(self, event: Event) -> None: ...

        def on_item(self, item: AnyItem) -> None:
            self.items.append(item)

        def on_end(self, reason: str) -> None: ...

    looking = Looking()
    item = Item("item_1", "assistant", (Part("audio", "what was heard"),))
    ObservedMemoryRecorder([looking], None, None, limit=2).note(item)
    assert looking.items == [item]


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteMemory]:
    memory = SqliteMemory(SqliteOptions(path=path))
    await memory.open()
    try:
        yield memory
    finally:
        await memory.close()
