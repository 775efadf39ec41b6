"""Speech recognition on this machine with any model of sherpa-onnx, streaming or not."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from voiceagent.asr.base import AsrHint, AsrStream
from voiceagent.asr.batch import Batcher
from voiceagent.asr.families import detect
from voiceagent.asr.offline import OfflineStream
from voiceagent.asr.online import Feed, OnlineStream, decode_feeds
from voiceagent.asr.recognizers import decode_offline, load_offline, load_online
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore

MOST_TOGETHER = 16
"""Utterances decoded in one batch by networks that really batch."""


class Options(BaseModel):
    """`model`: a name of the catalogue, or the path of a folder with a sherpa-onnx model; `type` says which family it is
    where the files do not tell. A wrong `type` makes sherpa-onnx end the process.

    `num_threads` work on one decoding, `workers` decodings run at once. `language` is for models that take one. A partial
    guess is renewed when `partial_ms` more were heard. Models that are not streaming hear at most `piece_seconds` at once;
    streaming ones are given `tail_ms` of silence at the end. `int8` prefers quantised files where a folder has both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "moonshine-tiny-en"
    type: str = ""
    language: str = ""
    num_threads: Annotated[int, Field(ge=1, le=64)] = 1
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    int8: bool = True
    partial_ms: Annotated[int, Field(ge=0, le=10_000)] = 300
    piece_seconds: Annotated[float, Field(ge=4.0, le=28.0)] = 12.0
    tail_ms: Annotated[int, Field(ge=0, le=3000)] = 700


class SherpaAsr:
    """One loaded model, shared by all utterances on any event loop."""

    Options = Options

    def __init__(self, options: Options, models: ModelStore) -> None:
        self._options = options
        self._models = models
        self._offline: Batcher[Pcm] | None = None
        self._online: Batcher[Feed] | None = None

    async def open(self) -> None:
        """Find, load and warm up the model. Raises ConfigError when it is missing or not understood."""
        loader: Batcher[None] = Batcher(lambda nothing: [], workers=1, size=1)
        try:
            await loader.run(self._load)
        finally:
            await loader.close()

    def stream(self, hint: AsrHint) -> AsrStream:
        """The hint is not used: sherpa-onnx fixes language and hot words when a model is loaded."""
        options = self._options
        if self._offline:
            return OfflineStream(
                self._offline,
                longest=round(options.piece_seconds * EAR_RATE),
                step=options.partial_ms * EAR_RATE // 1000,
            )
        if self._online:
            return OnlineStream(self._online, tail=options.tail_ms * EAR_RATE // 1000)
        raise EngineError("asr", "failed", "the recogniser is not open")

    async def close(self) -> None:
        offline, online = self._offline, self._online
        self._offline = self._online = None
        if offline:
            await offline.close()
        if online:
            await online.close()

    def _load(self) -> None:
        options = self._options
        found = detect(self._folder(), options.type, int8=options.int8)
        size = MOST_TOGETHER if found.family.batched else 1
        if found.family.streaming:
            online = load_online(found, options.num_threads)
            decode_feeds(online, [Feed([silence(EAR_RATE)])])
            self._online = Batcher(partial(decode_feeds, online), workers=options.workers, size=size)
        else:
            offline = load_offline(found, options.num_threads, options.language)
            decode_offline(offline, [silence(EAR_RATE)])
            self._offline = Batcher(partial(decode_offline, offline), workers=options.workers, size=size)

    def _folder(self) -> Path:
        model = self._options.model
        path = Path(model).expanduser()
        if path.is_dir():
            return path
        if os.sep in model or "/" in model or model.startswith("~"):
            raise ConfigError(f"[asr] model: there is no folder {path}")
        return self._models.path(model)
