"""Speech made on this machine by any voice of sherpa-onnx that reads by a lexicon: vits, matcha, kokoro, kitten."""

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import sherpa_onnx
from pydantic import BaseModel, ConfigDict, Field

from voiceagent.audio.pcm import Pcm, from_float
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models import onnx_metadata
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.tts.languages import NAMES, is_language
from voiceagent.tts.scripts import has_speech
from voiceagent.tts.threads import start_pool
from voiceagent.tts.trim import Trimmer, pause_after
from voiceagent.tts.voices import requested

# Which kind of sherpa-onnx voice lies in a folder, told by its files and by the metadata inside them.
#
# sherpa-onnx ends the whole process when a model is not what it was told, so nothing is guessed: what is not recognised
# is a ConfigError. From 2.0 on it reads text by a lexicon only, since espeak's licence did not fit its own.

Family = Literal["vits", "matcha", "kokoro", "kitten"]

_VOCODERS = ("vocos*.onnx", "hifigan*.onnx", "*vocoder*.onnx")
_CLONING = ("lm_flow*.onnx", "duration_predictor*.onnx", "*encoder*.onnx", "*decoder*.onnx")
"""Parts of pocket, supertonic and zipvoice, which speak after a recording or a style that they must be given."""


@dataclass(frozen=True, slots=True)
class SherpaVoice:
    """A voice found: its model file, what the file says of itself, and the files beside it ('' where there is none)."""

    family: Family
    model: Path
    metadata: Mapping[str, str]
    tokens: str
    lexicon: str
    voices: str
    vocoder: str
    rules: str

    @property
    def speakers(self) -> list[str]:
        """The speakers' names in the order of their numbers, if the model tells them."""
        names = self.metadata.get("speaker_names", "")
        return [name.strip() for name in names.split(",")] if names else []

    @property
    def languages(self) -> frozenset[str]:
        """What it speaks, by ISO 639; empty where the model does not tell, or in words that are not known."""
        told = [name.strip().lower() for name in re.split(r"[,;+/ ]+", self.metadata.get("language", "")) if name]
        by_name = {name.lower(): code for code, name in NAMES.items()} | {"mandarin": "zh", "cmn": "zh"}
        codes = {by_name.get(name) or (name.split("-")[0] if is_language(name) else "") for name in told}
        return frozenset() if "" in codes else frozenset(codes)


def detect(folder: Path) -> SherpaVoice:
    """The voice in a folder. Raises ConfigError when there is none, or none that can be used."""
    vocoder = _one(folder, *_VOCODERS)
    voices = _one(folder, "voices*.bin")
    tokens = _one(folder, "tokens.txt", "*tokens.txt")
    lexicon = ",".join(str(path) for path in sorted(folder.glob("*lexicon*.txt")))
    if any(_one(folder, pattern) for pattern in _CLONING):
        raise _unusable(folder, "speaks after a recording or style it must be given, which is not supported")
    model = _model(folder, vocoder)
    metadata = onnx_metadata.read(model)
    if "sample_rate" not in metadata:
        raise _unusable(folder, "was not exported for sherpa-onnx: its metadata lack sample_rate")
    if not tokens:
        raise _unusable(folder, "lacks tokens.txt")
    if not lexicon and metadata.get("frontend") != "characters":
        raise _unusable(
            folder, "lacks lexicon.txt, which sherpa-onnx 2 needs to read text: take the model's newest release"
        )
    return SherpaVoice(
        family=_family(metadata, voices, vocoder),
        model=model,
        metadata=metadata,
        tokens=tokens,
        lexicon=lexicon,
        voices=voices,
        vocoder=vocoder,
        rules=",".join(str(path) for path in sorted(folder.glob("*.fst"))),
    )


def configuration(voice: SherpaVoice, threads: int) -> sherpa_onnx.OfflineTtsConfig:
    """What sherpa-onnx is to load. Raises ConfigError when it does not accept the files."""
    config = sherpa_onnx.OfflineTtsConfig()
    config.max_num_sentences = 1  # so that the callback has the first sentence as soon as it is made
    config.rule_fsts = voice.rules
    config.model.num_threads = threads
    part = getattr(config.model, voice.family)
    part.tokens, part.lexicon = voice.tokens, voice.lexicon
    match voice.family:
        case "matcha":
            part.acoustic_model, part.vocoder = str(voice.model), voice.vocoder
        case "kokoro" | "kitten":
            part.model, part.voices = str(voice.model), voice.voices
        case "vits":
            part.model = str(voice.model)
    if not config.validate():
        raise _unusable(voice.model.parent, f"is not accepted by sherpa-onnx as a {voice.family} voice")
    return config


def _family(metadata: Mapping[str, str], voices: str, vocoder: str) -> Family:
    if voices:
        return "kitten" if metadata.get("model_type", "").startswith("kitten") else "kokoro"
    return "matcha" if vocoder else "vits"


def _model(folder: Path, vocoder: str) -> Path:
    """The voice's network; of several the full one, since the quantised ones are slower here and there."""
    found = [path for path in sorted(folder.glob("*.onnx")) if str(path) != vocoder]
    if not found:
        raise _unusable(folder, "holds no .onnx file")
    return min(found, key=lambda path: ("int8" in path.name, "fp16" in path.name, path.name))


def _one(folder: Path, *patterns: str) -> str:
    return next((str(path) for pattern in patterns for path in sorted(folder.glob(pattern))), "")


def _unusable(folder: Path, why: str) -> ConfigError:
    return ConfigError(f"[tts] model: the voice in {folder} {why}")


class SherpaTtsOptions(BaseModel):
    """A sherpa-onnx voice on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """A name of the catalogue, or the folder of a sherpa-onnx voice."""
    voice: str = "0"
    """A speaker of it, by number or by name."""
    speed: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
    """Multiplies the request's."""
    num_threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads that work on one clause."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Clauses spoken at once."""


class SherpaTts:
    """One loaded model on threads of its own, shared by all conversations on any event loop."""

    Options = SherpaTtsOptions

    def __init__(self, options: SherpaTtsOptions, models: ModelStore) -> None:
        self._options = options
        self._models = models
        self._voice: SherpaVoice | None = None
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
