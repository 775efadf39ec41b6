"""What the cache of answers is worth: `python -m benchmarks.llm_cache`.

Meaning: all questions of `paraphrases.yaml` are answered once, then the paraphrases and near misses are asked of the
same tenant. A hit is right when it gives the answer to the question that was paraphrased. Printed with 95 % intervals.
First sound: a server in its own process with a real voice, whose model takes 0.3 s to its first token; each talk is a
new connection that types one question. From the request for the answer to its first audio at the client.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import yaml
from websockets.asyncio.client import connect

from benchmarks.intervals import percentile, wilson
from benchmarks.scripted import ScriptedAsr
from benchmarks.server_process import START_SECONDS, line_of
from voiceagent.engines import Engines
from voiceagent.gateway.cache.engine import ENDPOINT, CachedLlm, CacheSection, cached
from voiceagent.llm.base import Caller, Completed, LlmEvent, LlmRequest, Message, TextDelta
from voiceagent.models.store import ModelStore
from voiceagent.server.app import VoiceServer
from voiceagent.server.serve import serve
from voiceagent.server.settings import ServerSection
from voiceagent.settings import Settings
from voiceagent.tts.cache import CachedTts
from voiceagent.tts.hibari import HibariTts
from voiceagent.vad.silero import SileroVad

SETS = Path(__file__).with_name("paraphrases.yaml")
PRECISE = 0.95
FIRST_AUDIO_MS = 30.0
TALKS = 60
MODEL_SECONDS = 0.3
ANSWER = "The capital of France is Paris. It lies on the river Seine."
QUESTION = "What is the capital of France?"
ANSWER_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Group:
    """A question, the same in other words, and others that look like it."""

    ask: str
    same: tuple[str, ...]
    near: tuple[str, ...]

    @property
    def chinese(self) -> bool:
        return not self.ask.isascii()


def groups(part: str) -> list[Group]:
    read = yaml.safe_load(SETS.read_text("utf-8"))[part]
    return [Group(one["ask"], tuple(one["same"]), tuple(one["not"])) for one in read]


class Echo:
    """Answers with the question; while it is `learning` the answer is whole and may be kept."""

    talk_tokens: int | None = None
    learning = True

    async def open(self) -> None: ...

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        yield TextDelta(request.messages[-1].content)
        yield Completed("stop" if self.learning else "length")

    async def close(self) -> None: ...


@dataclass(slots=True)
class Found:
    """Of so many paraphrases and near misses: right hits, wrong ones, and milliseconds of each look."""

    paraphrases: int
    near: int
    right: int = 0
    wrong: int = 0
    took_ms: tuple[float, ...] = ()

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    def told(self, name: str) -> str:
        hits = self.right + self.wrong
        low, high = wilson(self.right, hits) if hits else (0.0, 1.0)
        some, more = wilson(self.right, self.paraphrases)
        return (
            f"{name}: precise {self.precision:.1%} [{low:.1%}-{high:.1%}] of {hits} hits; found "
            f"{self.right / self.paraphrases:.1%} [{some:.1%}-{more:.1%}] of {self.paraphrases} paraphrases; "
            f"{self.wrong} wrong hits at {self.near} near misses"
        )


async def asked(llm: CachedLlm, question: str) -> tuple[str, bool]:
    """The answer, and whether it came from the cache."""
    request = LlmRequest((Message("user", question),), caller=Caller(tenant="benchmark", alone=True))
    said, kept = "", False
    async for event in llm.reply(request):
        if isinstance(event, TextDelta):
            said += event.text
        elif isinstance(event, Completed):
            kept = event.endpoint == ENDPOINT
    return said, kept


async def meaning(known: Sequence[Group], settings: CacheSection) -> dict[bool, Found]:
    """By whether it is Chinese."""
    echo = Echo()
    llm = cached(echo, settings)
    found = {
        chinese: Found(sum(len(one.same) for one in some), sum(len(one.near) for one in some))
        for chinese in (False, True)
        for some in [[one for one in known if one.chinese is chinese]]
    }
    await llm.open()
    try:
        for group in known:
            await asked(llm, group.ask)
        await llm.settled()
        echo.learning = False
        for group in known:
            of = found[group.chinese]
            for question in (*group.same, *group.near):
                began = time.perf_counter()
                said, kept = await asked(llm, question)
                of.took_ms += (1000 * (time.perf_counter() - began),)
                right = said == group.ask and question in group.same
                of.right += kept and right
                of.wrong += kept and not right
    finally:
        await llm.close()
    return found


def both(found: dict[bool, Found]) -> Found:
    one, other = found.values()
    return Found(
        one.paraphrases + other.paraphrases,
        one.near + other.near,
        one.right + other.right,
        one.wrong + other.wrong,
        one.took_ms + other.took_ms,
    )


# -- the first sound -------------------------------------------------------------------------------------------------


class SlowLlm:
    """A model far away."""

    talk_tokens: int | None = None

    async def open(self) -> None: ...

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        await asyncio.sleep(MODEL_SECONDS)
        for word in ANSWER.split(" "):
            yield TextDelta(f"{word} ")
        yield Completed()

    async def close(self) -> None: ...


async def run_server() -> None:
    settings = Settings(server=ServerSection(host="127.0.0.1", port=0, drain_seconds=0.1))
    models = ModelStore(settings.models_dir)
    with tempfile.TemporaryDirectory() as folder:
        engines = Engines(
            vad=SileroVad(SileroVad.Options(), models),
            asr=ScriptedAsr(),
            llm=cached(SlowLlm(), CacheSection(path=f"{folder}/cache.sqlite")),
            tts=CachedTts(HibariTts(HibariTts.Options(), models)),
        )
        await serve(VoiceServer(settings, engines), lambda url: print(json.dumps({"url": url}), flush=True))


async def first_audio(url: str, question: str) -> float:
    """Milliseconds from the request for an answer to its first audio, in a talk of its own."""
    async with asyncio.timeout(ANSWER_SECONDS), connect(f"{url}/v1/realtime?model=voiceagent") as socket:
        content = [{"type": "input_text", "text": question}]
        item = {"type": "message", "role": "user", "content": content}
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        async for frame in socket:
            if json.loads(frame)["type"] == "conversation.item.done":
                break
        began = time.perf_counter()
        await socket.send(json.dumps({"type": "response.create", "response": {"output_modalities": ["audio"]}}))
        async for frame in socket:
            if json.loads(frame)["type"] == "response.output_audio.delta":
                return 1000 * (time.perf_counter() - began)
    raise RuntimeError("the talk ended without a sound")


async def first_audios(talks: int) -> tuple[list[float], list[float]]:
    """Of questions that were never asked before, and of the same one again."""
    command = [sys.executable, "-m", "benchmarks.llm_cache", "--serve"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        address = urlsplit(json.loads(await line_of(process, START_SECONDS))["url"]).netloc
        url = f"ws://{address}"
        fresh = [await first_audio(url, f"What is question number {number}?") for number in range(10)]
        await first_audio(url, QUESTION)
        await asyncio.sleep(0.5)  # its whole answer has been said and kept
        return fresh, [await first_audio(url, QUESTION) for _ in range(talks)]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--talks", type=int, default=TALKS)
    parser.add_argument("--meaning", choices=("words", "encoder"), default="words")
    parser.add_argument("--meaning-only", action="store_true", help="without the server")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        asyncio.run(run_server())
        return 0
    met = True
    for part in ("tune", "test"):
        found = asyncio.run(meaning(groups(part), CacheSection(meaning=arguments.meaning)))
        total = both(found)
        print(found[False].told(f"{part}, English"), found[True].told(f"{part}, Chinese"), sep="\n")
        print(total.told(f"{part}, both"))
        print(
            f"{part}: a look takes p50 {np.median(total.took_ms):.2f} ms, p95 {np.percentile(total.took_ms, 95):.2f} ms"
        )
        met = met and (part != "test" or total.precision >= PRECISE)
    print(f"precise >= {PRECISE:.0%} on test: {'met' if met else 'MISSED'}")
    if not arguments.meaning_only:
        fresh, kept = asyncio.run(first_audios(arguments.talks))
        fast = float(np.percentile(kept, 95)) <= FIRST_AUDIO_MS
        print(f"first audio, not kept: n={len(fresh)}, p50 {percentile(fresh, 50)} ms")
        print(
            f"first audio, kept: n={len(kept)}, p50 {percentile(kept, 50)} ms, p95 {percentile(kept, 95)} ms", end=" "
        )
        print(f"(p95 <= {FIRST_AUDIO_MS:.0f}: {'met' if fast else 'MISSED'})")
        met = met and fast
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
