"""A client of OpenAI Realtime."""

import asyncio
import base64
import json
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from tests.support.every_protocol.clients import STEP, Pipe, alongside
from tests.support.every_protocol.script import user_voice
from tests.support.realtime.wire import Json, read
from voiceagent.audio.pcm import Pcm, silence, to_bytes


@dataclass
class Browser:
    """It keeps all audio itself, and tells how far it came when it was cut off."""

    pipe: Pipe
    rate: int = 24_000
    pieces: list[Pcm] = field(default_factory=list)
    queue: deque[tuple[str, Pcm]] = field(default_factory=deque)
    of_item: dict[str, int] = field(default_factory=dict)
    """Samples played of each item."""
    playing: str = ""
    """The item that is not complete, or not played to its end."""
    responding: bool = False

    def __post_init__(self) -> None:
        self._to_say = 0
        self._said = asyncio.Event()

    @property
    def played_seconds(self) -> float:
        return sum(map(len, self.pieces)) / self.rate

    def played(self) -> Pcm:
        return np.concatenate([silence(0), *self.pieces])

    async def say(self, seconds: float) -> None:
        self._to_say = round(seconds / STEP)
        self._said.clear()
        await self._said.wait()

    async def cut_in(self, seconds: float) -> None:
        await self.say(seconds)

    async def type(self, text: str) -> None:
        content: list[Json] = [{"type": "input_text", "text": text}]
        await self._tell("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await self._tell("response.create")

    async def leave(self) -> None:
        self.pipe.break_off()

    async def run(self) -> None:
        await alongside(self._live(), self._read())

    async def _read(self) -> None:
        while True:
            await self._take(read(await self.pipe.get()))

    async def _take(self, event: Json) -> None:
        match event:
            case {"type": "response.output_audio.delta", "item_id": str(item_id), "delta": str(delta)}:
                self.playing = item_id
                self.queue.append((item_id, np.frombuffer(base64.b64decode(delta), "<i2")))
            case {"type": "response.created"}:
                self.responding = True
            case {"type": "response.done"}:
                self.responding = False
            case {"type": "input_audio_buffer.speech_started"} if self.playing and (self.responding or self.queue):
                self.queue.clear()
                played_ms = self.of_item.get(self.playing, 0) * 1000 // self.rate
                await self._tell(
                    "conversation.item.truncate", item_id=self.playing, content_index=0, audio_end_ms=played_ms
                )
            case {"type": "error"}:
                raise AssertionError(event)

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        spoken, due = user_voice(STEP, self.rate), loop.time()
        while True:
            self._play(int(STEP * self.rate))
            pcm = spoken if self._to_say else silence(len(spoken))
            await self._tell("input_audio_buffer.append", audio=base64.b64encode(to_bytes(pcm)).decode())
            self._to_say -= self._to_say > 0
            if not self._to_say:
                self._said.set()
            due += STEP
            await asyncio.sleep(due - loop.time())

    def _play(self, samples: int) -> None:
        while samples and self.queue:
            item_id, pcm = self.queue.popleft()
            if len(pcm) > samples:
                self.queue.appendleft((item_id, pcm[samples:]))
            self.pieces.append(pcm[:samples])
            self.of_item[item_id] = self.of_item.get(item_id, 0) + len(pcm[:samples])
            samples -= len(pcm[:samples])

    async def _tell(self, kind: str, **fields: object) -> None:
        await self.pipe.put(json.dumps({"type": kind, **fields}))

    def check(self) -> None:
        assert not self.queue
        assert not self.responding
