"""Speech recognition on this machine with any model of sherpa-onnx, streaming or not."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from voiceagent.asr.base import AsrHint, AsrStream
from voiceagent.asr.batch import Batcher
from voiceagent.asr.families import ModelFolder, detect
from voiceagent.asr.offline import OfflineStream
from voiceagent.asr.online import OnlineStream, StreamFeed, decode_feeds
from voiceagent.asr.recognizers import decode_offline, load_offline, load_online
from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore

MOST_TOGETHER = 16
"""Utterances decoded in one batch by networks that really batch."""


class SherpaOptions(BaseModel):
    """A sherpa-onnx model on this machine, streaming or not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "moonshine-tiny-en"
    """A name of the catalogue (`voiceagent models list`), or the folder of a sherpa-onnx model."""
    type: str = ""
    """The model's family, where its files do not tell; a wrong one makes sherpa-onnx end the process."""
    int8: bool = True
    """Prefer quantised files where there are both."""
    language: str = ""
    """For models that take one."""
    num_threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads that work on one decoding."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Decodings at once."""
    partial_ms: Annotated[int, Field(ge=0, le=10_000)] = 300
    """A partial transcript is renewed once so much more was heard."""
    piece_seconds: Annotated[float, Field(ge=4.0, le=28.0)] = 12.0
    """Models that are not streaming hear at most so much at once."""
    tail_ms: Annotated[int, Field(ge=0, le=3000)] = 700
    """Silence that streaming models are given at the end."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory."""

    stream: Callable[[], AsrStream]
    close: Callable[[], Awaitable[None]]


class SherpaAsr:
    """One loaded model, shared by all utterances on any event loop."""

    Options = SherpaOptions

    def __init__(self, options: SherpaOptions, models: ModelStore) -> None:
        self._options = options
        self._models = models
        self._loaded: Loaded | None = None

    async def open(self) -> None:
        """Find, load and warm up the model. Raises ConfigError when it is missing or not understood."""
        loader = ThreadPoolExecutor(1, thread_name_prefix="asr-load")
        loading = asyncio.get_running_loop().run_in_executor(loader, self._load)
        try:
            self._loaded = await asyncio.shield(loading)
        except asyncio.CancelledError:  # another engine cannot be opened; a thread cannot be stopped half-way
            await asyncio.wait([loading])
            raise
        finally:
            loader.shutdown(wait=False)

    def stream(self, hint: AsrHint) -> AsrStream:
        """The hint is not used: sherpa-onnx fixes language and hot words when a model is loaded."""
        if self._loaded is None:
            raise EngineError("asr", "failed", "the recogniser is not open")
        return self._loaded.stream()

    async def close(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded:
            await loaded.close()

    def _load(self) -> Loaded:
        found = detect(self._folder(), self._options.type, int8=self._options.int8)
        return self._load_streaming(found) if found.family.streaming else self._load_offline(found)

    def _load_offline(self, found: ModelFolder) -> Loaded:
        options = self._options
        recognizer = load_offline(found, options.num_threads, options.language)
        decode_offline(recognizer, [_noise()])
        batcher: Batcher[Pcm] = Batcher(
            partial(decode_offline, recognizer), workers=options.workers, size=_together(found)
        )
        longest, step = round(options.piece_seconds * EAR_RATE), options.partial_ms * EAR_RATE // 1000
        return Loaded(lambda: OfflineStream(batcher, longest=longest, step=step), batcher.close)

    def _load_streaming(self, found: ModelFolder) -> Loaded:
        options = self._options
        recognizer = load_online(found, options.num_threads)
        decode_feeds(recognizer, [StreamFeed([_noise()])])
        batcher: Batcher[StreamFeed] = Batcher(
            partial(decode_feeds, recognizer), workers=options.workers, size=_together(found)
        )
        tail = options.tail_ms * EAR_RATE // 1000
        return Loaded(lambda: OnlineStream(batcher, tail=tail), batcher.close)

    def _folder(self) -> Path:
        model = self._options.model
        path = Path(model).expanduser()
        if path.is_dir():
            return path
        if len(path.parts) > 1:
            raise ConfigError(f"[asr] model: there is no folder {path}")
        return self._models.path(model)


def _together(found: ModelFolder) -> int:
    return MOST_TOGETHER if found.family.batched else 1


def _noise() -> Pcm:
    """One second to warm up with; pure silence would be skipped."""
    return np.random.default_rng(0).integers(-300, 300, EAR_RATE, dtype=np.int16)
