"""Silero VAD v6 in ONNX, shared by all sessions: windows that wait at the same moment run as one batch."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import onnxruntime
from pydantic import BaseModel, ConfigDict, Field

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence, to_float
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.vad.base import WINDOW
from voiceagent.vad.gate import FRAME, Gate

CONTEXT = 64
"""Samples before the window that Silero wants to see with it."""

WARM_UP = 8
"""So many of the windows missed while the gate was closed are run when it opens, so that the model knows what came
before. Measured on recorded speech: with 3 it loses 0.26 % of the speech windows, with 8 0.10 %, with 16 0.05 %."""

PAST = CONTEXT + WARM_UP * WINDOW
"""Samples a stream keeps before the window that comes next."""

MAX_BATCH = 32
"""Windows a batch: measured 125 µs for one alone, 58 µs each for 32, hardly less for more."""

MANY_STREAMS = 8
GATHER_SECONDS = 0.01
"""With more than MANY_STREAMS open, batches begin at least so far apart, unless one is full. Each has a cost of its own
(a thread to wake, a loop to wake), which 100 sessions would otherwise pay a thousand times a second. Measured with 40
sessions, 10 ms instead of 5 take 6 % off the whole server's work."""

HOLD_PROBABILITY = 0.35
"""What keeps the gate open: the probability below which speech is commonly taken to have ended."""

LONG_PUSH = 256
"""Windows (8 s) after which a long push lets others run; with a closed gate they take about 3 ms."""

StreamState = npt.NDArray[np.float32]
"""What the model remembers of one stream, shape (2, 128)."""

BLANK: StreamState = np.zeros((2, 128), np.float32)


@dataclass(frozen=True, slots=True)
class WindowResult:
    probability: float
    state: StreamState


@dataclass(frozen=True, slots=True)
class InferenceJob:
    """Windows of one stream to be judged one after the other: the CONTEXT before the first and WINDOW samples of each,
    and the stream's state before them. The answer is the last one's."""

    samples: Pcm
    state: StreamState
    future: asyncio.Future[WindowResult]


Answer = WindowResult | EngineError


class SileroVad:
    """The engine: one model, one worker thread. Streams may live on any event loop."""

    class Options(BaseModel):
        """`gate` False runs the model on every window. `aggressiveness` 0 to 3 is the gate's; `hold_ms` is how long it
        stays open after the last sign of a voice.

        Measured on 80 minutes of recorded speech, of the windows that the model alone puts above 0.5, gate 2 loses 0.1
        % (1.8 % when everything is 20 dB quieter, 2.9 % in the worst of five sources), gate 3 0.4 % (8 %) and gate 1
        0.03 % (0.1 %). All are open 1 % of the time in silence and steady hiss; in the echo residue of a loudspeaker
        gate 1 is open 65 % of the time, gate 2 48 %, gate 3 14 %.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)
        gate: bool = True
        """False runs the model on every window."""
        aggressiveness: Annotated[int, Field(ge=0, le=3)] = 2
        """The gate's (webrtcvad's)."""
        hold_ms: Annotated[int, Field(ge=100, le=10_000)] = 500
        """How long the gate stays open after the last sign of a voice."""

    def __init__(self, options: Options, models: ModelStore) -> None:
        self._options = options
        self._models = models
        self._lock = threading.Lock()
        self._waiting: deque[InferenceJob] = deque()
        self._streams: WeakSet[SileroStream] = WeakSet()
        self._last_batch = 0.0
        self._draining = False
        self._executor: ThreadPoolExecutor | None = None
        self._model: onnxruntime.InferenceSession | None = None

    async def open(self) -> None:
        executor = ThreadPoolExecutor(1, thread_name_prefix="silero")
        try:
            self._model = await asyncio.get_running_loop().run_in_executor(executor, self._load)
        except BaseException:
            executor.shutdown(wait=False)
            raise
        self._executor = executor

    def stream(self) -> "SileroStream":
        stream = SileroStream(self, self._options)
        self._streams.add(stream)
        return stream

    async def close(self) -> None:
        """Windows still waiting fail; a batch that is running is waited for (2 ms)."""
        with self._lock:
            executor, self._executor = self._executor, None
            left = list(self._waiting)
            self._waiting.clear()
        deliver(left, [EngineError("vad", "failed", "the voice activity detector was closed") for _ in left])
        if executor is not None:
            executor.shutdown()
        self._model = None

    def submit(self, samples: Pcm, state: StreamState) -> asyncio.Future[WindowResult]:
        """Have windows judged. The worker always answers, so that a deadline of the waiter's own is not needed."""
        future: asyncio.Future[WindowResult] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._executor is None:
                raise EngineError("vad", "failed", "the voice activity detector is not open")
            # Bounded by the number of streams: each has at most one job waiting.
            self._waiting.append(InferenceJob(samples, state, future))
            if not self._draining:
                self._draining = True
                self._executor.submit(self._drain)
        return future

    def _load(self) -> onnxruntime.InferenceSession:
        path = self._models.path("silero-vad") / "silero_vad.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            model = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for size in (1, MAX_BATCH):
                infer(model, [silence(CONTEXT + WINDOW)] * size, [BLANK] * size)
        except Exception as error:  # onnxruntime raises classes of its own without a common base
            raise ConfigError(f"{path} cannot be loaded ({type(error).__name__}); fetch it again") from None
        return model

    def _drain(self) -> None:
        """Run batches until nothing waits (on the worker thread)."""
        while True:
            self._gather()
            with self._lock:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                if not batch:
                    self._draining = False
                    return
            answers: Sequence[Answer]
            try:
                answers = judge(self._model, batch)
            except Exception as error:
                message = f"the voice activity detector failed ({type(error).__name__})"
                answers = [EngineError("vad", "failed", message) for _ in batch]
            deliver(batch, answers)

    def _gather(self) -> None:
        """Where many talk, wait a little for more windows (on the worker thread)."""
        if len(self._streams) > MANY_STREAMS and len(self._waiting) < MAX_BATCH:
            time.sleep(max(0.0, self._last_batch + GATHER_SECONDS - time.monotonic()))
        self._last_batch = time.monotonic()


def judge(model: onnxruntime.InferenceSession, jobs: Sequence[InferenceJob]) -> list[WindowResult]:
    """Judge each job's windows: all first ones together, then all second ones, and so on."""
    verdicts = [WindowResult(0.0, job.state) for job in jobs]
    left, place = list(range(len(jobs))), 0
    while left:
        samples = [jobs[index].samples[place : place + CONTEXT + WINDOW] for index in left]
        for index, verdict in zip(left, infer(model, samples, [verdicts[index].state for index in left]), strict=True):
            verdicts[index] = verdict
        place += WINDOW
        left = [index for index in left if len(jobs[index].samples) > place + CONTEXT]
    return verdicts


def infer(
    model: onnxruntime.InferenceSession, samples: Sequence[Pcm], states: Sequence[StreamState]
) -> list[WindowResult]:
    """Judge one window of each of several streams."""
    probabilities, after = model.run(
        None,
        {
            "input": to_float(np.stack(samples)),
            "state": np.stack(states, axis=1),
            "sr": np.array(EAR_RATE, np.int64),
        },
    )
    # Copied, so that no stream keeps the whole batch's states alive.
    return [WindowResult(float(probabilities[i, 0]), after[:, i].copy()) for i in range(len(samples))]


def deliver(jobs: Sequence[InferenceJob], answers: Sequence[Answer]) -> None:
    """Hand the answers to their waiters, with one wake-up a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[InferenceJob, Answer]]] = {}
    for job, answer in zip(jobs, answers, strict=True):
        by_loop.setdefault(job.future.get_loop(), []).append((job, answer))
    for loop, pairs in by_loop.items():
        # A closed loop refuses: nobody waits there any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, pairs)


def settle(pairs: list[tuple[InferenceJob, Answer]]) -> None:
    for job, answer in pairs:
        if job.future.done():  # cancelled meanwhile
            continue
        match answer:
            case WindowResult():
                job.future.set_result(answer)
            case EngineError():
                job.future.set_exception(answer)


class SileroStream:
    """One conversation's detector. While its gate is closed the probability is 0.0 and nothing is awaited.

    The result does not depend on how the audio is cut into pushes. One push at a time; a cancelled or failed one keeps
    its audio, and the next push judges it.
    """

    def __init__(self, engine: SileroVad, options: SileroVad.Options) -> None:
        self._engine = engine
        self._options = options
        self.reset()

    def reset(self) -> None:
        hold = self._options.hold_ms * EAR_RATE // 1000
        self._gate = Gate(self._options.aggressiveness, hold) if self._options.gate else None
        self._audio = silence(PAST)
        """The last PAST samples already judged, then those that wait for their window to be complete."""
        self._ungated = PAST
        """Index of the first sample that the gate has not heard."""
        self._missed = 0
        """Windows since the last one that the model saw, as far as WARM_UP."""
        self._state = BLANK

    async def push(self, pcm: Pcm) -> list[float]:
        self._audio = np.concatenate((self._audio, pcm))
        probabilities: list[float] = []
        while len(self._audio) >= PAST + WINDOW:
            probabilities.append(await self._judge() if self._gate_opens() else 0.0)
            self._audio = self._audio[WINDOW:]
            self._ungated -= WINDOW
            if len(probabilities) % LONG_PUSH == 0:
                await asyncio.sleep(0)
        self._audio = self._audio.copy()
        return probabilities

    def _gate_opens(self) -> bool:
        """Let the gate hear the next window's frames; tell whether the model must judge that window."""
        if self._gate is None:
            return True
        while self._ungated + FRAME <= PAST + WINDOW:
            self._gate.hear(self._audio[self._ungated : self._ungated + FRAME])
            self._ungated += FRAME
        if not self._gate.is_open:
            self._missed = min(self._missed + 1, WARM_UP)
        return self._gate.is_open

    async def _judge(self) -> float:
        """Have the next window judged, and before it those that the model has missed."""
        start = PAST - self._missed * WINDOW
        verdict = await self._engine.submit(self._audio[start - CONTEXT : PAST + WINDOW], self._state)
        self._state, self._missed = verdict.state, 0
        if self._gate is not None and verdict.probability >= HOLD_PROBABILITY:
            self._gate.hold()
        return verdict.probability
