"""Smart Turn: a small network that hears in the last 8 seconds of a voice whether its speaker has finished."""

import asyncio
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import onnxruntime

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import ConfigError
from voiceagent.models.store import ModelStore
from voiceagent.turn.log_mel import log_mel

log = logging.getLogger(__name__)

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
