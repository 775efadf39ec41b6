"""The recordings and spoken phrases that benchmarks.barge_in plays, with what the detector says of them."""

import asyncio
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soxr
from hibari import Hibari

from voiceagent.asr.base import AsrEngine, AsrHint
from voiceagent.audio.pcm import EAR_RATE, Pcm, from_float, silence
from voiceagent.audio.resample import Resampler
from voiceagent.vad.base import VadEngine

BEFORE, AFTER = EAR_RATE // 2, EAR_RATE
"""Samples of silence around each clip."""

TTS_RATE = 24_000

VARIANTS = ((1.0, 1.0), (1.18, 1.0), (0.88, 1.05), (1.1, 1.25), (1.0, 0.85))
"""Pitch divided by, and speed: one voice as five speakers."""

SPOKEN_BACKCHANNELS = (
    "Mm-hmm.|Mhm.|Uh-huh.|Yeah.|Yep.|Right.|Okay.|Sure.|I see.|Hmm.|Got it.|Oh, really?|Yeah, yeah.|All right.|"
    "Of course.|Exactly.|Um.|Wow.|Yes.|Oh.|Makes sense.|Okay, okay.|Cool.|Great.|That's right."
)
SPOKEN_COMMANDS = (
    "Stop.|Wait.|No.|Hold on.|Wait a second.|Excuse me.|What?|Hang on.|No, not that one.|Yeah, but I meant Tuesday.|"
    "Boston.|Tuesday.|Cancel.|Can you repeat that?|Okay, stop.|Stop it, please.|Next one.|Never mind.|Two tickets.|"
    "Why?|Sorry?|Pause.|Shut up.|Be quiet.|Enough.|Yes, do that one."
)


@dataclass(frozen=True, slots=True)
class Clip:
    """What is heard while the agent talks. `kind` is the manifest's use; `speaker` decides the half it belongs
    to; `onset` is the labelled sample of the user's first sound, None where nobody labelled it. Samples at EAR_RATE,
    silence around it included."""

    kind: str
    name: str
    speaker: str
    pcm: Pcm
    onset: int | None = None
    played: Pcm | None = None
    """What the agent plays meanwhile, as long as `pcm`; None where that is not known."""
    text: str = ""
    """Of what the agent plays."""

    @property
    def half(self) -> str:
        """ "tune" or "report", by the speaker's name."""
        return ("tune", "report")[hashlib.sha256(self.speaker.encode()).digest()[0] % 2]


def speech_folder() -> Path | None:
    """Where the recordings lie: VOICEAGENT_SPEECH, else `shared/speech` beside the checkout; None without them."""
    named = os.environ.get("VOICEAGENT_SPEECH")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "speech"
    return folder if (folder / "manifest.jsonl").is_file() else None


def cache_folder() -> Path:
    """Outside the checkout, so that nothing of the recordings ever gets into it."""
    root = os.environ.get("VOICEAGENT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "voiceagent"
    return Path(root).expanduser() / "benchmarks"


def recorded(folder: Path, kinds: tuple[str, ...]) -> tuple[list[Clip], int]:
    """The clips of these uses, and how many were left out because their file holds nothing but silence."""
    clips, silent = [], 0
    for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["use"] not in kinds:
            continue
        pcm = decode(folder / row["file"])
        if "start" in row:  # a stretch of a longer recording
            pcm = pcm[int(row["start"] * EAR_RATE) : int(row["end"] * EAR_RATE)]
        if not len(pcm) or np.abs(pcm).max() < 16:
            silent += 1
            continue
        onset = row.get("speech_start")
        clips.append(
            Clip(
                row["use"],
                row["file"],
                row["speaker"] or row["file"],
                surround(pcm),
                None if onset is None else BEFORE + int(onset * EAR_RATE),
            )
        )
    return clips, silent


def spoken() -> list[Clip]:
    """Backchannels and commands said by the default voice in five pitches and speeds."""
    voice = Hibari()
    clips = []
    for kind, listed in (("spoken_backchannel", SPOKEN_BACKCHANNELS), ("spoken_command", SPOKEN_COMMANDS)):
        for text in listed.split("|"):
            for pitch, speed in VARIANTS:
                samples = soxr.resample(voice(text, speed=speed * pitch, seed=1), TTS_RATE / pitch, TTS_RATE)
                pcm = from_float(soxr.resample(samples, TTS_RATE, EAR_RATE) * np.float32(0.5))
                hiss = np.random.default_rng(1).normal(0, 8, len(pcm) + BEFORE + AFTER)
                clips.append(Clip(kind, text, f"{text} {pitch} {speed}", (surround(pcm) + hiss).astype(np.int16)))
    return clips


def in_a_room(folder: Path) -> list[Clip]:
    """Prompts of an agent as a loudspeaker and a microphone without echo cancelling bring them back: late by up to
    400 ms, reverberant, 0 to 30 dB quieter. In every second a user speaks over it, 10 dB louder than that."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    prompts = [row for row in rows if row["use"] == "agent" and row["seconds"] > 2]
    users = [row for row in rows if row["use"] == "turn" and 2 < row["seconds"] < 6]
    chance = np.random.default_rng(7)
    clips = []
    for index, prompt in enumerate([prompt for prompt in prompts for _ in range(2)]):
        agent = decode(folder / prompt["file"])
        echo = reverberate(agent, chance) * 10 ** (chance.uniform(-30, 0) / 20)
        heard, onset = echo.copy(), None
        if index % 2:
            row = users[int(chance.integers(len(users)))]
            begin = int(chance.integers(EAR_RATE // 2, len(heard) - 3 * EAR_RATE // 2))
            user = decode(folder / row["file"])[: len(heard) - begin].astype(float)
            user *= 10**0.5 * np.std(echo) / np.std(user)
            heard[begin : begin + len(user)] += user
            onset = BEFORE + begin + int(row["speech_start"] * EAR_RATE)
        heard += chance.normal(0, 8, len(heard))
        pcm = surround(np.clip(heard, -32768, 32767).astype(np.int16))
        kind = "room_doubletalk" if index % 2 else "room_echo"
        name = f"{prompt['file']} {index}"
        clips.append(Clip(kind, name, name, pcm, onset, surround(agent), prompt["text"]))
    return clips


def reverberate(pcm: Pcm, chance: np.random.Generator) -> npt.NDArray[np.float64]:
    """A small loudspeaker (nothing below 300 Hz), a way of 0 to 400 ms, and a room of 0.3 s."""
    tail = chance.normal(size=3 * EAR_RATE // 10) * np.logspace(0, -3, 3 * EAR_RATE // 10)
    tail[0] = 6.0
    spectrum = np.fft.rfft(np.convolve(pcm.astype(float), tail / np.linalg.norm(tail))[: len(pcm)])
    hertz = np.fft.rfftfreq(len(pcm), 1 / EAR_RATE)
    sound = np.fft.irfft(spectrum / (1 + (300 / np.maximum(hertz, 1)) ** 4), len(pcm))
    late = int(chance.integers(0, 400 * EAR_RATE // 1000))
    return np.concatenate((np.zeros(late), sound))[: len(pcm)]


def decode(path: Path) -> Pcm:
    """An audio file's first channel at 16 kHz."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    to_mono = av.AudioResampler(format="s16", layout="mono")
    pieces = [piece.to_ndarray().reshape(-1) for frame in [*frames, None] for piece in to_mono.resample(frame)]
    resampler = Resampler(frames[0].sample_rate, EAR_RATE, "low")
    return np.concatenate((resampler.push(np.concatenate(pieces)), resampler.flush()))


def surround(pcm: Pcm) -> Pcm:
    return np.concatenate((silence(BEFORE), pcm, silence(AFTER)))


class Engines:
    """The real detector and recogniser, whose answers are kept on disk by the audio they are for."""

    def __init__(self, vad: VadEngine, asr: AsrEngine, folder: Path) -> None:
        self._vad = vad
        self._asr = asr
        self._folder = folder
        self._texts_file = folder / "texts.json"
        self._texts: dict[str, str] = {}

    async def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._texts_file.is_file():
            self._texts = json.loads(self._texts_file.read_text("utf-8"))
        await asyncio.gather(self._vad.open(), self._asr.open())

    async def close(self) -> None:
        self._texts_file.write_text(json.dumps(self._texts, ensure_ascii=False), "utf-8")
        await asyncio.gather(self._vad.close(), self._asr.close())

    async def probabilities(self, clip: Clip) -> npt.NDArray[np.float64]:
        file = self._folder / f"{digest(clip.pcm)}.npy"
        if file.is_file():
            known: npt.NDArray[np.float64] = np.load(file)
            return known
        found = np.array(await self._vad.stream().push(clip.pcm))
        np.save(file, found)
        return found

    async def text(self, pcm: Pcm) -> str:
        key = digest(pcm)
        if key not in self._texts:
            stream = self._asr.stream(AsrHint())
            stream.push(pcm)
            self._texts[key] = (await stream.finish()).text
            stream.close()
        return self._texts[key]


def digest(pcm: Pcm) -> str:
    return hashlib.sha256(pcm.tobytes()).hexdigest()[:32]
