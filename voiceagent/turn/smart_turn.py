"""Smart Turn: a small network that hears in the last 8 seconds of a voice whether its speaker has finished."""

import asyncio
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt
import onnxruntime

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence, to_float
from voiceagent.errors import ConfigError
from voiceagent.models.store import ModelStore

log = logging.getLogger(__name__)

FRAME = 400
"""Samples under one window: 25 ms."""
HOP = 160
"""Samples from one window to the next: 10 ms."""
BANDS = 80

LogMel = npt.NDArray[np.float32]
"""Sound as Whisper's networks take it, the logarithm of the energy in mel bands; shape (BANDS, frames)."""


def log_mel(pcm: Pcm, seconds: int) -> LogMel:
    """The last `seconds` of 16 kHz audio, shorter ones with zeros in front, as an array of (80, 100 · seconds), about
    -1 to 1.5. The wave is first brought to mean 0 and variance 1, as Whisper's preprocessing does on request."""
    samples = np.zeros(seconds * EAR_RATE, np.float32)
    tail = to_float(pcm[-len(samples) :])
    samples[len(samples) - len(tail) :] = tail
    samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    window, filters = _tables()
    padded = np.pad(samples, FRAME // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[: len(samples) : HOP]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    bands = np.log10(np.maximum(filters @ power.T, 1e-10))
    bands = np.maximum(bands, bands.max() - 8.0)
    mel: LogMel = ((bands + 4.0) / 4.0).astype(np.float32)
    return mel


@cache
def _tables() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """The window (periodic Hann) and the filters: triangles of equal area on Slaney's mel scale, shape (80, 201)."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    edges = _hertz(np.linspace(0.0, _mel(EAR_RATE / 2), BANDS + 2))
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.linspace(0.0, EAR_RATE / 2, FRAME // 2 + 1)
    triangles = np.maximum(0.0, np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)))
    return window.astype(np.float32), triangles * 2.0 / (high - low)


def _mel(hertz: float) -> float:
    """Linear to 1 kHz (mel 15), logarithmic above. Only asked for frequencies above it."""
    return 15.0 + 27.0 * float(np.log(hertz / 1000.0) / np.log(6.4))


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))


SECONDS = 8
"""What the network hears; a shorter turn gets zeros in front, as in its training."""

MOST_WAITING = 16
"""Questions that may wait. One takes about 65 ms of a core (11 for the log-mel), so that the last of 16 is answered
after a second, when its pause is over or the turn has ended without it."""


class SmartTurn:
    """One model and one worker thread a process, for conversations on any event loop.

    Questions are answered one by one, in their order: a batch would take as long (measured: 55 ms an item in batches of
    1 to 8), and would answer all of them at its end.
    """

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._waiting = 0
        self._executor: ThreadPoolExecutor | None = None
        self._model: onnxruntime.InferenceSession | None = None

    async def open(self) -> None:
        """Load and warm up. Raises ConfigError when the model is missing, naming the command that fetches it."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="smart-turn")
        try:
            self._model = await asyncio.get_running_loop().run_in_executor(executor, self._load)
        except BaseException:
            executor.shutdown(wait=False)
            raise
        self._executor = executor

    async def finished(self, audio: Pcm) -> float | None:
        """How likely it is, 0 to 1, that whoever speaks in these 16 kHz samples has finished. The samples are those of
        the turn up to now, with some 160 ms of the pause; only the last 8 s count. They must not change meanwhile.

        None when there is no answer to be had: too many wait, the model failed, or it is closed. Nothing depends on it
        alone, so that this never raises. A question whose asker was cancelled is dropped.
        """
        with self._lock:
            if self._executor is None or self._waiting >= MOST_WAITING:
                return None
            self._waiting += 1
            answer = self._executor.submit(self._judge, audio[-SECONDS * EAR_RATE :])
        answer.add_done_callback(self._settled)
        return await asyncio.wrap_future(answer)

    async def close(self) -> None:
        """Questions still waiting get no answer; the one being judged is waited for."""
        with self._lock:
            executor, self._executor = self._executor, None
            if executor is None:
                return
            last = executor.submit(int)
        await asyncio.wrap_future(last)  # so that shutdown, which blocks, has nothing left to wait for
        executor.shutdown()
        self._model = None

    def _load(self) -> onnxruntime.InferenceSession:
        path = self._models.path("smart-turn-v3.2") / "smart-turn-v3.2-cpu.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            model = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            infer(model, silence(EAR_RATE))
        except Exception as error:  # onnxruntime raises classes of its own without a common base
            raise ConfigError(f"{path} cannot be loaded ({type(error).__name__}); fetch it again") from None
        return model

    def _judge(self, audio: Pcm) -> float | None:
        """On the worker thread."""
        if self._executor is None:  # closed while this waited
            return None
        try:
            return infer(self._model, audio)
        except Exception as error:
            log.warning("the end-of-turn model failed (%s)", type(error).__name__)
            return None

    def _settled(self, answer: Future[float | None]) -> None:
        with self._lock:
            self._waiting -= 1


def infer(model: onnxruntime.InferenceSession, audio: Pcm) -> float:
    """The network's answer, 0 to 1."""
    (probabilities,) = model.run(None, {"input_features": log_mel(audio, SECONDS)[np.newaxis]})
    return float(probabilities[0, 0])
