"""What the clients of a load test say: a real recording, made into turns of equal share and into ready messages."""

import base64
import json
import os
from dataclasses import dataclass

import numpy as np

from voiceagent.audio import wav
from voiceagent.audio.pcm import EAR_RATE, Pcm, to_bytes
from voiceagent.audio.resample import Resampler
from voiceagent.models.store import ModelStore
from voiceagent.vad.base import WINDOW
from voiceagent.vad.silero import SileroVad

RATE = 24_000
"""Hz, as OpenAI Realtime clients send."""
FRAME_SECONDS = 0.02
FRAME = int(RATE * FRAME_SECONDS)
SPEECH_SHARE = 0.4
TURN_SECONDS = 3.5
"""The least speech of a turn: the quiet after it then has room for the whole answer."""
VOICE = 0.35
"""Probability above which a window is kept as speech: where the server's own detector holds on to a voice."""
LONGEST_STOP = 2
"""Windows (64 ms) of silence kept inside a turn: longer pauses are cut out, else they would end the turn."""
HISS = 12
"""Amplitude of the noise between turns, as a quiet room has it (-69 dB)."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One round of talk, to be repeated for as long as a client talks. `messages` are WebSocket messages as they go
    over the wire, one each 20 ms; `turns` tells, by the index of each turn's last message with speech, how many of its
    messages hold speech."""

    messages: list[bytes]
    turns: dict[int, int]


async def record(models: ModelStore, turn_seconds: float = TURN_SECONDS) -> Recording:
    """Makes it, with turns of at least so long; takes a second of computing. Raises ConfigError when the models are not
    fetched."""
    pcm, rate = wav.read(models.path("speech-samples") / "two_cities.wav")
    vad = SileroVad(SileroVad.Options(gate=False), models)
    await vad.open()
    try:
        probabilities = await vad.stream().push(converted(pcm, rate, EAR_RATE))
    finally:
        await vad.close()
    audio: list[Pcm] = []
    lengths: dict[int, int] = {}
    frames = 0
    noise = np.random.default_rng(1)
    for speech in turns(converted(pcm, rate, RATE), probabilities, turn_seconds):
        speaking = -(-len(speech) // FRAME)
        lengths[frames + speaking - 1] = speaking
        length = round(speaking / SPEECH_SHARE)
        turn = noise.integers(-HISS, HISS, length * FRAME, dtype=np.int16, endpoint=True)
        turn[: len(speech)] += speech
        audio.append(turn)
        frames += length
    pieces = np.concatenate(audio).reshape(-1, FRAME)
    return Recording([append(piece) for piece in pieces], lengths)


def turns(pcm: Pcm, probabilities: list[float], seconds: float) -> list[Pcm]:
    """The speech of each turn: phrases of the recording run together until they are long enough."""
    window = WINDOW * RATE // EAR_RATE
    found: list[Pcm] = []
    turn: list[Pcm] = []
    stop = LONGEST_STOP + 1
    for index, probability in enumerate(probabilities):
        stop = 0 if probability >= VOICE else stop + 1
        if stop == 0 or (turn and stop <= LONGEST_STOP):
            turn.append(pcm[index * window : (index + 1) * window])
        elif stop == LONGEST_STOP + 1 and len(turn) * window >= seconds * RATE:
            found.append(np.concatenate(turn[:-LONGEST_STOP]))
            turn = []
    return found


def converted(pcm: Pcm, rate: int, wanted: int) -> Pcm:
    resampler = Resampler(rate, wanted, "quality")
    return np.concatenate((resampler.push(pcm), resampler.flush()))


def append(pcm: Pcm) -> bytes:
    return client_message({"type": "input_audio_buffer.append", "audio": base64.b64encode(to_bytes(pcm)).decode()})


def client_message(event: dict[str, object]) -> bytes:
    """An event as one masked WebSocket text message (RFC 6455, 5.2)."""
    payload = json.dumps(event, separators=(",", ":")).encode()
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0x80 | 126)) + size.to_bytes(2, "big")
    mask = os.urandom(4)
    masked = np.frombuffer(payload, np.uint8) ^ np.resize(np.frombuffer(mask, np.uint8), size)
    return head + mask + masked.tobytes()
