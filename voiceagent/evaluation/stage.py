"""A scenario made ready to be played: every utterance as audio, every level computed."""

import getpass
import hashlib
import os
import tempfile
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from voiceagent_client.errors import AudioError
from voiceagent_client.pcm import RATE, Pcm, speech_end
from voiceagent_client.pcm import silence as quiet
from voiceagent_client.wav import read_wav

from voiceagent import extras
from voiceagent.audio.pcm import from_float, to_bytes
from voiceagent.errors import ConfigError
from voiceagent.evaluation import mixing
from voiceagent.evaluation.mixing import Signal
from voiceagent.evaluation.scenario import Interjection, Noise, Say, Scenario, ScenarioTurn, SpeechPiece, pieces

Speak = Callable[[str, float], Pcm]
"""Words as 24 kHz audio, by a voice lower than the agent's by this factor."""

USER_PITCH = 1.15
BABBLE = (
    ("We took the early train and then walked along the river for a while.", 1.05),
    ("She said that the meeting had been moved to the end of next week.", 1.28),
    ("They are still looking for somebody who can repair the old clock.", 1.15),
    ("It was raining so hard that nobody wanted to leave the station.", 0.95),
    ("The soup needs a little more salt and perhaps some fresh bread.", 1.22),
    ("My brother bought the tickets a month ago and then lost them.", 1.1),
)
"""What the people in the background say, and their pitch."""


@dataclass(frozen=True, slots=True)
class StagedSpeech:
    """`onset` and `end`: its first sample of speech and one past its last."""

    pcm: Pcm
    text: str
    onset: int
    end: int


@dataclass(frozen=True, slots=True)
class StagedTurn:
    turn: ScenarioTurn
    speech: StagedSpeech
    meanwhile: tuple[tuple[Interjection, StagedSpeech], ...]


@dataclass(frozen=True, slots=True)
class Staged:
    scenario: Scenario
    turns: tuple[StagedTurn, ...]
    noise: Signal | None

    def microphone(self) -> mixing.SimulatedMicrophone:
        """One for each time the scenario is played."""
        echo, telephone = self.scenario.microphone.echo, self.scenario.microphone.telephone
        if echo is None:
            return mixing.SimulatedMicrophone(self.noise, telephone=telephone)
        return mixing.SimulatedMicrophone(
            self.noise, mixing.gain(echo.level_db), echo.delay_ms * RATE // 1000, telephone
        )


def stage(scenario: Scenario, folder: Path, speak: Speak) -> Staged:
    """`folder` is where the scenario's WAV files lie. Raises ConfigError for one that cannot be used."""
    turns: list[StagedTurn] = []
    for turn in scenario.turns:
        meanwhile = tuple((entry, utterance(entry.say, folder, speak, entry.level_db)) for entry in turn.meanwhile)
        turns.append(StagedTurn(turn, utterance(turn.say, folder, speak), meanwhile))
    noise = scenario.microphone.noise
    if noise is None:
        return Staged(scenario, tuple(turns), None)
    spoken = np.concatenate([turn.speech.pcm for turn in turns])
    level = mixing.speech_level(spoken)
    return Staged(scenario, tuple(turns), mixing.at_snr(background(noise, folder, speak), level, noise.snr_db))


def utterance(say: Say, folder: Path, speak: Speak, level_db: float = 0.0) -> StagedSpeech:
    """The parts in a row; those of the voice without the quiet around their words, so that a pause is as long as it
    says."""
    parts = [_audio(piece, folder, speak) for piece in pieces(say)]
    pcm = np.concatenate(parts)
    if level_db:
        pcm = mixing.to_pcm(pcm.astype(np.float64) * mixing.gain(level_db))
    text = " ".join(piece.text for piece in pieces(say) if piece.text)
    onset, end = span(pcm)
    return StagedSpeech(pcm, text, onset, end)


def span(pcm: Pcm) -> tuple[int, int]:
    """Where the speech in a recording begins and ends; all of it where none is found (a noise)."""
    end, rest = speech_end(pcm), speech_end(pcm[::-1])
    return (0, len(pcm)) if end is None or rest is None else (len(pcm) - rest, end)


def background(noise: Noise, folder: Path, speak: Speak) -> Signal:
    if noise.wav is not None:
        return _read(folder / noise.wav).astype(np.float64)
    match noise.kind:
        case "white":
            return mixing.white()
        case "pink":
            return mixing.pink()
        case _:
            return mixing.babble([speak(text, pitch) for text, pitch in BABBLE])


def _audio(piece: SpeechPiece, folder: Path, speak: Speak) -> Pcm:
    if piece.pause_ms is not None:
        return quiet(piece.pause_ms * RATE // 1000)
    if piece.wav is not None:
        return _read(folder / piece.wav)
    spoken = speak(piece.text or "", USER_PITCH)
    if not len(spoken):
        raise ConfigError("the voice cannot speak a text of the scenario (it speaks English); record it as a `wav`")
    onset, end = span(spoken)
    return spoken[onset:end]


def _read(path: Path) -> Pcm:
    try:
        pcm = read_wav(path)
    except AudioError as error:
        raise ConfigError(str(error)) from None
    if not len(pcm):
        raise ConfigError(f"{path}: is empty")
    return pcm


class ScenarioVoice:
    """Speaks by the embedded voice, each sentence once: afterwards it comes from the user's temporary folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"voiceagent-eval-{getpass.getuser()}"
        self._hibari: Callable[..., object] | None = None

    def __call__(self, text: str, pitch: float) -> Pcm:
        name = hashlib.sha256(f"hibari 1 {pitch} {text}".encode()).hexdigest()[:32]
        path = self._folder / f"{name}.wav"
        if not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            half_done = path.with_suffix(f".{os.getpid()}")
            with wave.open(str(half_done), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes(to_bytes(self._speak(text, pitch)))
            half_done.replace(path)
        return read_wav(path)

    def _speak(self, text: str, pitch: float) -> Pcm:
        if self._hibari is None:
            extras.need("hibari", "the voice of the scenarios' users")
            from hibari import Hibari

            self._hibari = Hibari()
        samples = self._hibari(text, speed=pitch, seed=1)
        return from_float(soxr.resample(samples, RATE / pitch, RATE))
