"""What the cache of answers is worth: `python -m benchmarks.llm_cache`.

Near-opposites: of each pair of `near_opposites.yaml` one question is answered, then the other is asked; any
hit is wrong. Half of the pairs were written after the code was frozen.
Paraphrases: all questions of `paraphrases.yaml` are answered once, then each again in the same words, in other words
(`same`), and its near misses (`not`). A hit is right when it gives the answer to the question that was paraphrased.
Printed with 95 % intervals.
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
PAIRS = Path(__file__).with_name("near_opposites.yaml")
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


def near_opposites(part: str, language: str | None = None) -> list[tuple[str, str]]:
    """Pairs of `part` ("before" or "after" the freeze), of one language ("en", "zh") or both."""
    read: dict[str, list[str]] = yaml.safe_load(PAIRS.read_text("utf-8"))[part]
    found = []
    for pair in (pair for name, pairs in read.items() if language in (None, name) for pair in pairs):
        one, other = pair.split(" | ")
        found.append((one, other))
    return found


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
    """Right hits of so many questions in the same words and of so many paraphrases, wrong hits of so many near misses
    and all others, and milliseconds of each look."""

    exact: int
    paraphrases: int
    near: int
    exact_hits: int = 0
    right: int = 0
    wrong: int = 0
    took_ms: tuple[float, ...] = ()

    def said(self, name: str) -> str:
        return (
            f"{name}: hits {share(self.right, self.paraphrases)} of paraphrases, "
            f"{share(self.exact_hits, self.exact)} in the same words; {self.wrong} wrong hits, {self.near} near misses "
            "among the questions"
        )


def share(some: int, of: int) -> str:
    low, high = wilson(some, of)
    return f"{some}/{of} = {some / of:.1%} [{low:.1%}-{high:.1%}]"


async def asked(llm: CachedLlm, question: str, tenant: str = "benchmark") -> tuple[str, bool]:
    """The answer, and whether it came from the cache."""
    request = LlmRequest((Message("user", question),), caller=Caller(tenant=tenant, alone=True))
    said, kept = "", False
    async for event in llm.reply(request):
        if isinstance(event, TextDelta):
            said += event.text
        elif isinstance(event, Completed):
            kept = event.endpoint == ENDPOINT
    return said, kept


async def opposites(pairs: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Wrong hits, and how many pairs could have had one: both of their questions may be kept."""
    llm = cached(Echo(), CacheSection())
    wrong = able = 0
    await llm.open()
    try:
        for number, (one, other) in enumerate(pairs):
            skipped = sum(llm.totals.skipped.values())
            await asked(llm, one, f"tenant {number}")
            await llm.settled()
            _, hit = await asked(llm, other, f"tenant {number}")
            wrong += hit
            able += sum(llm.totals.skipped.values()) == skipped
    finally:
        await llm.close()
    return wrong, able


async def paraphrases(known: Sequence[Group]) -> Found:
    echo = Echo()
    llm = cached(echo, CacheSection())
    found = Found(len(known), sum(len(group.same) for group in known), sum(len(group.near) for group in known))
    await llm.open()
    try:
        for group in known:
            await asked(llm, group.ask)
        await llm.settled()
        echo.learning = False
        for group in known:
            for question in (group.ask, *group.same, *group.near):
                began = time.perf_counter()
                said, hit = await asked(llm, question)
                found.took_ms += (1000 * (time.perf_counter() - began),)
                found.exact_hits += hit and question == group.ask == said
                found.right += hit and question in group.same and said == group.ask
                found.wrong += hit and not (question in (group.ask, *group.same) and said == group.ask)
    finally:
        await llm.close()
    return found


def precision() -> bool:
    """Prints what is found; whether there is no wrong hit."""
    wrong_hits = 0
    for part in ("before", "after"):
        for language in ("en", "zh"):
            pairs = near_opposites(part, language)
            wrong, able = asyncio.run(opposites(pairs))
            wrong_hits += wrong
            print(
                f"near-opposites written {part} the freeze, {language}: wrong hits {share(wrong, len(pairs))}", end="; "
            )
            print(f"both questions may be kept in {able} pairs")
    known = [*groups("tune"), *groups("test")]
    for language, some in (
        ("en", [group for group in known if not group.chinese]),
        ("zh", [group for group in known if group.chinese]),
        ("both", known),
    ):
        found = asyncio.run(paraphrases(some))
        wrong_hits += found.wrong if language == "both" else 0
        print(found.said(f"paraphrases, {language}"))
        if language == "both":
            p50, p95 = np.percentile(found.took_ms, (50, 95))
            print(f"a look takes p50 {p50:.2f} ms, p95 {p95:.2f} ms")
    print(f"no wrong hit: {'met' if not wrong_hits else 'MISSED'}")
    return not wrong_hits


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
    parser.add_argument("--precision-only", action="store_true", help="without the server")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        asyncio.run(run_server())
        return 0
    met = precision()
    if not arguments.precision_only:
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
