"""The recorded turns that benchmarks.turn_end judges, with every pause that the real detector hears in them, and what
the real recogniser and model say at each."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.barge_in_clips import cache_folder, decode
from voiceagent.asr.base import AsrHint, AsrStream
from voiceagent.asr.sherpa import SherpaAsr
from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.models.store import ModelStore
from voiceagent.turn.endpointing import fade_db
from voiceagent.turn.smart_turn import SmartTurn
from voiceagent.vad.base import WINDOW
from voiceagent.vad.segmenter import Segmenter, VoiceStarted
from voiceagent.vad.silero import SileroVad

USES = ("turn", "command")
PAUSE_MS = 160
"""Silence after which a session asks; shorter ones are the gaps within words."""
PREFIX = 3 * EAR_RATE // 10
"""Samples before the onset that belong to the turn, as in a session."""
AFTER = 4 * EAR_RATE
"""Samples of the recording's own hiss put after it, so that the longest wait comes to its end."""
VERSION = 1
"""Of what is kept on disk: raise it when anything here or in the models changes."""


@dataclass(frozen=True, slots=True)
class HeardPause:
    """A silence as the detector hears it, in seconds of the recording. `speech_ms`: voice in the turn before it."""

    start: float
    end: float
    speech_ms: float
    text: str
    fade_db: float | None
    finished: float


@dataclass(frozen=True, slots=True)
class Turn:
    """`end` is where the annotation says that the speech ends, `silences` the pauses it names before that. `speaker` is
    the recording's own name where nobody knows."""

    name: str
    speaker: str
    end: float
    silences: tuple[tuple[float, float], ...]
    pauses: tuple[HeardPause, ...]

    @property
    def half(self) -> str:
        """ "tune" or "report", by the speaker's name."""
        return ("tune", "report")[hashlib.sha256(self.speaker.encode()).digest()[0] % 2]


def turns(speech: Path) -> list[Turn]:
    """All recorded turns whose end is known, by speaker and name. What the engines say is computed once (some minutes)
    and kept outside the checkout."""
    rows = [json.loads(line) for line in (speech / "manifest.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["use"] in USES and "speech_end" in row]
    store = cache_folder() / f"turn-end-{VERSION}.jsonl"
    known = dict(stored(store))
    missing = [row["file"] for row in rows if row["file"] not in known]
    if missing:
        known |= asyncio.run(listen(speech, missing, store))
    found = [
        Turn(
            name=row["file"],
            speaker=row["speaker"] or row["file"],
            end=row["speech_end"],
            silences=tuple((pause["start"], pause["end"]) for pause in row.get("pauses") or ()),
            pauses=known[row["file"]],
        )
        for row in rows
    ]
    return sorted(found, key=lambda turn: (turn.speaker, turn.name))


def stored(file: Path) -> Iterator[tuple[str, tuple[HeardPause, ...]]]:
    if file.is_file():
        for line in file.read_text("utf-8").splitlines():
            name, pauses = json.loads(line)
            yield name, tuple(HeardPause(**pause) for pause in pauses)


async def listen(speech: Path, names: list[str], store: Path) -> dict[str, tuple[HeardPause, ...]]:
    """Run the engines over these recordings, keeping each as soon as it is done."""
    models = ModelStore()
    vad, asr = SileroVad(SileroVad.Options(), models), SherpaAsr(SherpaAsr.Options(), models)
    model = SmartTurn(models)
    engines = (vad, asr, model)
    heard = {}
    try:
        for engine in engines:
            await engine.open()
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("a", encoding="utf-8") as file:
            for count, name in enumerate(names, 1):
                pcm = with_hiss(decode(speech / name))
                stream = asr.stream(AsrHint())
                heard[name] = await hear(pcm, await vad.stream().push(pcm), stream, model)
                stream.close()
                file.write(json.dumps([name, [asdict(pause) for pause in heard[name]]], ensure_ascii=False) + "\n")
                print(f"\rlistening: {count}/{len(names)}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    finally:
        for engine in engines:
            await engine.close()
    return heard


async def hear(pcm: Pcm, windows: list[float], asr: AsrStream, model: SmartTurn) -> tuple[HeardPause, ...]:
    """The pauses of PAUSE_MS and more, each judged by the audio that there is once it has lasted PAUSE_MS."""
    segmenter = Segmenter()
    pauses: list[HeardPause] = []
    begin: int | None = None
    given = speech = 0
    open_pause = False
    for probability in windows:
        event = segmenter.push(probability)
        if isinstance(event, VoiceStarted) and begin is None:
            begin = given = max(0, event.sample - PREFIX)
        if begin is None:
            continue
        now, silent = segmenter.sample, segmenter.silence_samples
        if silent == 0:
            speech += segmenter.speech_samples if isinstance(event, VoiceStarted) else WINDOW
            open_pause = False
        elif silent * 1000 >= PAUSE_MS * EAR_RATE and not open_pause:
            open_pause = True
            asr.push(pcm[given:now])
            given = now
            finished = await model.finished(pcm[begin:now])
            assert finished is not None
            text = (await asr.finish()).text
            fade = fade_db(pcm[begin : now - silent][-8 * EAR_RATE :])
            start = (now - silent) / EAR_RATE
            pauses.append(HeardPause(start, start, speech * 1000 / EAR_RATE, text, fade, finished))
        if open_pause:
            pauses[-1] = replace(pauses[-1], end=now / EAR_RATE)
    return tuple(pauses)


def with_hiss(pcm: Pcm) -> Pcm:
    """Followed by noise as loud as the recording's quietest twentieth (at most -40 dB)."""
    steps = pcm[: len(pcm) // 800 * 800].reshape(-1, 800).astype(np.float64)
    level = min(300.0, float(np.percentile(np.sqrt(np.mean(steps**2, axis=1)), 5)))
    return np.concatenate((pcm, (np.random.default_rng(0).normal(0, level, AFTER)).astype(np.int16)))
