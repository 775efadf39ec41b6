"""Speech made on this machine by any voice of sherpa-onnx that reads by a lexicon: vits, matcha, kokoro, kitten."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import sherpa_onnx
from pydantic import BaseModel, ConfigDict, Field

from voiceagent.audio.pcm import Pcm, from_float
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.tts.scripts import has_speech
from voiceagent.tts.sherpa_voices import Voice, configuration, detect
from voiceagent.tts.threads import start_pool
from voiceagent.tts.trim import Trimmer, pause_after
from voiceagent.tts.voices import requested


class SherpaTtsOptions(BaseModel):
    """`model`: a name of the catalogue, or the path of a folder with a sherpa-onnx voice. `voice`: a speaker of it, by
    number or by name. `num_threads` work on one clause; `workers` clauses are spoken at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    voice: str = "0"
    speed: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
    num_threads: Annotated[int, Field(ge=1, le=64)] = 1
    workers: Annotated[int, Field(ge=1, le=64)] = 1


class SherpaTts:
    """One loaded model on threads of its own, shared by all conversations on any event loop."""

    Options = SherpaTtsOptions

    def __init__(self, options: SherpaTtsOptions, models: ModelStore) -> None:
        self._options = options
        self._models = models
        self._voice: Voice | None = None
        self._engine: sherpa_onnx.OfflineTts | None = None
        self._threads: ThreadPoolExecutor | None = None

    @property
    def sample_rate(self) -> int:
        return int(self._engine.sample_rate) if self._engine is not None else 0

    @property
    def languages(self) -> frozenset[str]:
        return self._voice.languages if self._voice is not None else frozenset()

    @property
    def voices(self) -> list[str]:
        return self._voice.speakers if self._voice is not None else []

    def has_voice(self, voice: str) -> bool:
        return self._speaker(requested(voice) or self._options.voice) is not None

    async def open(self) -> None:
        self._threads = await start_pool(self._options.workers, "sherpa-tts")
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._load)
        except BaseException:
            await self.close()
            raise

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        engine, threads = self._engine, self._threads
        if engine is None or threads is None:
            raise _failed("failed", "the speech engine is not open")
        if not has_speech(request.text):
            return
        speaker = self._speaker(requested(request.voice) or self._options.voice)
        if speaker is None:
            raise _failed("bad_request", "the voice asked for is not one of the model's")
        work = _Work(engine, request.text, speaker, min(3.0, max(0.3, request.speed * self._options.speed)))
        threads.submit(work.run).add_done_callback(work.done)
        trimmer = Trimmer(self.sample_rate, pause_after(request.text))
        heard = False
        try:
            while (piece := await work.next()) is not None:
                pcm = trimmer.push(piece)
                if len(pcm):
                    heard = True
                    yield TtsAudio(pcm)
        finally:
            work.stop()
        if not heard:
            raise _failed("bad_request", "the voice found nothing to say in the text: it may be of another language")
        yield TtsAudio(trimmer.finish())

    async def close(self) -> None:
        self._engine = None
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _load(self) -> None:
        self._voice = detect(self._folder())
        engine = sherpa_onnx.OfflineTts(configuration(self._voice, self._options.num_threads))
        self._engine = engine
        speaker = self._speaker(self._options.voice)
        if speaker is None:
            names = ", ".join(self._voice.speakers) or f"0 to {engine.num_speakers - 1}"
            raise ConfigError(f"[tts] voice = {self._options.voice!r} is not one of the model's: {names}")
        chinese = "zh" in self._voice.metadata.get("language", "").lower() or "Chinese" in self._voice.metadata.values()
        engine.generate("你好" if chinese else "Hello", sid=speaker)

    def _speaker(self, name: str) -> int | None:
        speakers = self._voice.speakers if self._voice is not None else []
        if name in speakers:
            return speakers.index(name)
        count = max(1, self._engine.num_speakers) if self._engine is not None else 0
        return int(name) if name.isascii() and name.isdigit() and int(name) < count else None

    def _folder(self) -> Path:
        path = Path(self._options.model).expanduser()
        if path.is_dir():
            return path
        if len(path.parts) > 1:
            raise ConfigError(f"[tts] model: there is no folder {path}")
        return self._models.path(self._options.model)


class _Work:
    """One clause being spoken on a thread, its audio handed to the loop that asked, sentence by sentence.

    What waits to be taken is at most the clause's own audio, so the queue needs no bound of its own.
    """

    def __init__(self, engine: sherpa_onnx.OfflineTts, text: str, speaker: int, speed: float) -> None:
        self._engine = engine
        self._text = text
        self._speaker = speaker
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Pcm | EngineError | None] = asyncio.Queue()
        self._stopped = threading.Event()

    async def next(self) -> Pcm | None:
        """The next sentence's audio; None after the last."""
        piece = await self._pieces.get()
        if isinstance(piece, EngineError):
            raise piece
        return piece

    def stop(self) -> None:
        """No more of it is wanted: the thread stops after the sentence it is making."""
        self._stopped.set()

    def run(self) -> None:
        if not self._stopped.is_set():
            self._engine.generate(self._text, sid=self._speaker, speed=self._speed, callback=self._made)

    def done(self, future: "Future[None]") -> None:
        """Called on the thread when it has ended, or where a queued clause is cancelled."""
        if future.cancelled():
            self._hand_over(_failed("failed", "the speech engine was closed"))
        elif (error := future.exception()) is not None:
            self._hand_over(_failed("failed", f"sherpa-onnx failed: {type(error).__name__}"))
        else:
            self._hand_over(None)

    def _made(self, samples: npt.NDArray[np.float32], progress: float) -> int:
        self._hand_over(from_float(samples))
        return 0 if self._stopped.is_set() else 1

    def _hand_over(self, piece: Pcm | EngineError | None) -> None:
        with suppress(RuntimeError):  # that loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)


def _failed(code: str, message: str) -> EngineError:
    return EngineError("tts", code, message)
