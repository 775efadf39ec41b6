"""A server whose recogniser, model and voice answer at once, so that a benchmark measures the core and not engines.

The voice detector is the real one. Run as a process of its own (`python -m benchmarks.scripted`); it prints one line of
JSON with its URL once it is ready, and one with its numbers for every line on its standard input.
"""

import argparse
import asyncio
import cProfile
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import numpy as np
import psutil

from voiceagent.agent.running import log_to_stderr
from voiceagent.asr.base import AsrHint, AsrStream, Transcript
from voiceagent.audio.pcm import Pcm
from voiceagent.engines import Engines
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, TextDelta
from voiceagent.models.store import ModelStore
from voiceagent.server.app import VoiceServer
from voiceagent.server.serve import serve
from voiceagent.server.settings import LimitSection, ServerSection
from voiceagent.settings import Settings
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.vad.silero import SileroVad

QUESTION = "It was the best of times, it was the worst of times."
ANSWER = ("Thank you", " for", " telling me.", " That sounds", " like a good", " plan for", " today.")
"""Two sentences, in deltas as a model gives them."""
SECONDS_PER_CHAR = 0.065
"""Pace of an English voice: the answer takes about 4 s."""
VOICE_RATE = 24_000
SYLLABLES = 4.5
"""A second: how often the voice's loudness rises and falls."""


class ScriptedAsr:
    """Understands the same words in whatever was said."""

    async def open(self) -> None: ...

    def stream(self, hint: AsrHint) -> AsrStream:
        return ScriptedAsrStream()

    async def close(self) -> None: ...


class ScriptedAsrStream:
    """Keeps the utterance's audio, as a real one must."""

    def __init__(self) -> None:
        self._heard: list[Pcm] = []

    def push(self, pcm: Pcm) -> None:
        self._heard.append(pcm)

    async def partial(self) -> str:
        return QUESTION[: len(self._heard)]

    async def finish(self) -> Transcript:
        return Transcript(QUESTION, "en")

    def close(self) -> None:
        self._heard.clear()


class ScriptedLlm:
    talk_tokens: int | None = None

    async def open(self) -> None: ...

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        for delta in ANSWER:
            yield TextDelta(delta)
        yield Completed(input_tokens=50, output_tokens=len(ANSWER))

    async def close(self) -> None: ...


class ScriptedTts:
    """Says every clause in noise that swells like speech and lasts as long."""

    sample_rate = VOICE_RATE

    def __init__(self) -> None:
        times = np.arange(20 * VOICE_RATE) / VOICE_RATE
        noise = np.random.default_rng(1).normal(0.0, 3000.0, len(times))
        self._sound: Pcm = (noise * np.abs(np.sin(np.pi * SYLLABLES * times))).clip(-32768, 32767).astype(np.int16)

    async def open(self) -> None: ...

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        yield TtsAudio(self._sound[: int(len(request.text) * SECONDS_PER_CHAR * VOICE_RATE)])

    async def close(self) -> None: ...


async def report_when_asked() -> None:
    """Answer each line on standard input with what this process holds; once its other end is closed, stop serving."""
    process = psutil.Process()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    try:
        while await reader.readline():
            cpu = process.cpu_times()
            numbers = {
                "tasks": len(asyncio.all_tasks()),
                "threads": process.num_threads(),
                "resident_bytes": process.memory_info().rss,
                "cpu_seconds": cpu.user + cpu.system,
            }
            print(json.dumps(numbers), flush=True)
        signal.raise_signal(signal.SIGTERM)
    finally:
        transport.close()


async def run() -> None:
    """Serve until SIGTERM, or until the process that started this one has gone."""
    settings = Settings(
        server=ServerSection(host="127.0.0.1", port=0, drain_seconds=0.1),
        limits=LimitSection(sessions=5000, sessions_per_key=5000),
    )
    vad = SileroVad(SileroVad.Options(), ModelStore(settings.models_dir))
    voice = VoiceServer(settings, Engines(vad=vad, asr=ScriptedAsr(), llm=ScriptedLlm(), tts=ScriptedTts()))
    reporting = asyncio.create_task(report_when_asked())
    await serve(voice, lambda url: print(json.dumps({"url": url}), flush=True))
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, help="the one core this process may use")
    parser.add_argument("--profile", type=Path, help="write cProfile's numbers of the loop's thread to this file")
    arguments = parser.parse_args(argv)
    if arguments.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {arguments.core})
    log_to_stderr("info")
    if arguments.profile is None:
        asyncio.run(run())
    else:
        profile = cProfile.Profile(time.thread_time)  # CPU time: other processes and waiting do not count
        profile.runcall(asyncio.run, run())
        profile.dump_stats(arguments.profile)
    return 0


if __name__ == "__main__":
    sys.exit(main())
