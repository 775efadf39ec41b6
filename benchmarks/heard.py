"""Does the agent know what was heard when it is interrupted? `python -m benchmarks.heard [--json FILE]`.

Over a real server the prompts of `agent` are said, by the embedded voice and as they were recorded by a human one, and
interrupted at random points by clients that hold back 0 to 400 ms of what they are sent. A client that reports what it
played (`conversation.item.truncate`) is what the target is for; beside it stand those that tell nothing, for whom the
server's own clock must do. The text of the item, retrieved afterwards, is compared with the words that lie in the audio
played until then. How long each word lasts is known to nobody: it is estimated by the server, and for the truth by
`benchmarks.heard_truth`, which is off by a word itself at times.
"""

import argparse
import asyncio
import base64
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.barge_in_clips import Engines as Judges
from benchmarks.barge_in_clips import cache_folder, decode, speech_folder
from benchmarks.heard_truth import Truth, truth_of
from benchmarks.intervals import wilson
from benchmarks.recording import converted
from benchmarks.scripted import ScriptedAsr
from voiceagent.asr.sherpa import SherpaAsr
from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.engines import Engines
from voiceagent.errors import EngineError
from voiceagent.evaluation.words import words
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, TextDelta
from voiceagent.models.store import ModelStore
from voiceagent.server.app import VoiceServer
from voiceagent.server.serve import listen, make_server
from voiceagent.server.settings import LimitSection
from voiceagent.settings import Settings
from voiceagent.tts.base import TtsAudio, TtsEngine, TtsRequest
from voiceagent.tts.clauses import ClauseSplitter
from voiceagent.tts.hibari import HibariTts
from voiceagent.vad.silero import SileroVad

RATE = 24_000
TARGET = 0.95
LONGEST = 13.0
"""Seconds: longer prompts take long and show nothing else."""
EARLIEST = 0.4
"""Seconds of a prompt before it is interrupted."""
LAST = 0.25
"""Seconds before its end after which it is not: all of it may be sent by then."""
BUFFERS_MS = (0, 100, 200, 300, 400)
AT_ONCE = 24
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Prompt:
    """`sound` at RATE is all of it, `truth` which words lie where."""

    voice: str
    text: str
    sound: Pcm
    truth: Truth


@dataclass(frozen=True, slots=True)
class Outcome:
    """One interruption. `off`: words claimed less words played."""

    voice: str
    reported: bool
    buffer_ms: int
    off: float


class Reciter:
    """Says what it is told."""

    talk_tokens: int | None = None

    async def open(self) -> None: ...

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        for word in request.messages[-1].content.split(" "):
            yield TextDelta(word + " ")
        yield Completed()

    async def close(self) -> None: ...


class PromptVoice:
    """Speaks clauses that were prepared, by voice and words."""

    sample_rate = RATE

    def __init__(self) -> None:
        self.clauses: dict[tuple[str, str], Pcm] = {}

    async def open(self) -> None: ...

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        pcm = self.clauses.get((request.voice or "", request.text))
        if pcm is None:
            raise EngineError("tts", "bad_request", "there is no such prompt")
        yield TtsAudio(pcm)

    async def close(self) -> None: ...


def clauses_of(text: str) -> list[str]:
    splitter = ClauseSplitter()
    found = [clause for word in text.split(" ") for clause in splitter.push(word + " ")]
    return [clause.spoken for clause in [*found, *splitter.flush()] if clause.spoken]


async def prepared(folder: Path, voice: PromptVoice, judges: Judges) -> list[Prompt]:
    """Every prompt of the manifest, said by the embedded voice; and as it was recorded, where it is of one clause."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    embedded = HibariTts(HibariTts.Options(), ModelStore())
    await embedded.open()
    prompts: list[Prompt] = []
    try:
        for row in rows:
            text = " ".join(str(row.get("text") or "").split())
            if row["use"] != "agent" or row["seconds"] > LONGEST or "silence" in text or len(words(text)) < 3:
                continue
            clauses = clauses_of(text)
            for clause in clauses:
                voice.clauses["embedded", clause] = await rendered(embedded, clause)
            sounds = {"embedded": np.concatenate([voice.clauses["embedded", clause] for clause in clauses])}
            if len(clauses) == 1:
                sounds["recorded"] = voice.clauses["recorded", clauses[0]] = converted(
                    decode(folder / row["file"]), EAR_RATE, RATE
                )
            for name, sound in sounds.items():
                truth = await truth_of(text, converted(sound, RATE, EAR_RATE), judges.text)
                if truth is not None:
                    prompts.append(Prompt(name, text, sound, truth))
    finally:
        await embedded.close()
    return prompts


async def rendered(engine: TtsEngine, clause: str) -> Pcm:
    return np.concatenate([piece.pcm async for piece in engine.speak(TtsRequest(clause))])


@asynccontextmanager
async def serving(voice: PromptVoice) -> AsyncIterator[str]:
    """The address of a server that recites."""
    settings = Settings(limits=LimitSection(sessions=5000, sessions_per_key=5000))
    vad = SileroVad(SileroVad.Options(), ModelStore())
    voice.clauses["", settings.agent.apology] = np.ones(RATE, dtype=np.int16)
    server = VoiceServer(settings, Engines(vad=vad, asr=ScriptedAsr(), llm=Reciter(), tts=voice))
    with listen("127.0.0.1", 0) as listener:
        running = make_server(server)
        task = asyncio.create_task(running.serve([listener]))
        try:
            await running.listening.wait()
            await server.loaded.wait()
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/v1/realtime"
        finally:
            running.should_exit = True
            await task


# -- one interruption -------------------------------------------------------------------------------------------------


async def interrupted(url: str, prompt: Prompt, at: float, buffer_ms: int, *, reports: bool) -> Outcome:
    """Have it said, and cut in after `at` seconds of it were played."""
    loop = asyncio.get_running_loop()
    async with connect(url, max_size=None) as socket:
        await say(socket, prompt)
        received, item_id = 0.0, ""
        began = cut_at = float("inf")
        while loop.time() < cut_at:
            try:
                async with asyncio.timeout_at(cut_at if item_id else None):
                    event = json.loads(await socket.recv())
            except TimeoutError:
                break
            if event["type"] == "response.output_audio.delta":
                if not item_id:
                    began, item_id = loop.time(), event["item_id"]
                    cut_at = began + at + buffer_ms / 1000
                received += len(base64.b64decode(event["delta"])) / 2 / RATE
        played = min(received, max(0.0, loop.time() - began - buffer_ms / 1000))
        await tell(socket, {"type": "response.cancel"})
        if reports:
            truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0}
            await tell(socket, {**truncate, "audio_end_ms": int(played * 1000)})
        await tell(socket, {"type": "conversation.item.retrieve", "item_id": item_id})
        claimed = await retrieved(socket)
    return Outcome(prompt.voice, reports, buffer_ms, len(words(claimed)) - prompt.truth.at(played))


async def say(socket: ClientConnection, prompt: Prompt) -> None:
    audio = {"input": {"turn_detection": None}, "output": {"voice": prompt.voice}}
    await tell(socket, {"type": "session.update", "session": {"type": "realtime", "audio": audio}})
    content = [{"type": "input_text", "text": prompt.text}]
    item = {"type": "message", "role": "user", "content": content}
    await tell(socket, {"type": "conversation.item.create", "item": item})
    await tell(socket, {"type": "response.create"})


async def tell(socket: ClientConnection, event: Mapping[str, object]) -> None:
    await socket.send(json.dumps(event))


async def retrieved(socket: ClientConnection) -> str:
    while True:
        event = json.loads(await socket.recv())
        if event["type"] == "conversation.item.retrieved":
            return " ".join(part["transcript"] for part in event["item"]["content"])


# -- all of them ------------------------------------------------------------------------------------------------------


def planned(prompts: list[Prompt], seed: int) -> Iterator[tuple[Prompt, float, int, bool]]:
    """Each prompt at four points by a client that reports, at two by one that does not."""
    chance = random.Random(seed)
    for prompt in prompts:
        longest = len(prompt.sound) / RATE - LAST
        for reports in (True, True, True, True, False, False):
            yield prompt, chance.uniform(EARLIEST, max(EARLIEST, longest)), chance.choice(BUFFERS_MS), reports


async def run(folder: Path, seed: int) -> list[Outcome]:
    models, voice = ModelStore(), PromptVoice()
    judges = Judges(SileroVad(SileroVad.Options(), models), SherpaAsr(SherpaAsr.Options(), models), cache_folder())
    await judges.open()
    try:
        prompts = await prepared(folder, voice, judges)
    finally:
        await judges.close()
    places = asyncio.Semaphore(AT_ONCE)
    async with serving(voice) as url:

        async def one(prompt: Prompt, at: float, buffer_ms: int, reports: bool) -> Outcome:
            async with places, asyncio.timeout(DEADLINE):
                return await interrupted(url, prompt, at, buffer_ms, reports=reports)

        return list(await asyncio.gather(*(one(*plan) for plan in planned(prompts, seed))))


def within_a_word(outcome: Outcome) -> bool:
    """The truth lies between two of its own steps: half a word there is nobody's error."""
    return abs(outcome.off) < 1.5


def line(name: str, outcomes: list[Outcome]) -> str:
    right = sum(map(within_a_word, outcomes))
    low, high = wilson(right, len(outcomes))
    off = Counter(round(outcome.off) for outcome in outcomes)
    spread = ", ".join(f"{words:+d}: {count}" for words, count in sorted(off.items()))
    return f"{name:36} n={len(outcomes):3}  {right / len(outcomes):6.1%} [{low:.0%}-{high:.0%}]  words off {spread}"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heard", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all outcomes there")
    parser.add_argument("--seed", type=int, default=1, help="for other points")
    options = parser.parse_args(argv)
    folder = speech_folder()
    if folder is None:
        print("skipped: no recordings; set VOICEAGENT_SPEECH to the folder that holds their manifest.jsonl")
        return 0
    outcomes = asyncio.run(run(folder, options.seed))
    met = True
    for voice in ("embedded", "recorded"):
        for reported, how in ((True, "client reports"), (False, "server's clock")):
            chosen = [o for o in outcomes if o.voice == voice and o.reported is reported]
            print(line(f"{voice} voice, {how}", chosen))
            if reported:
                met = met and sum(map(within_a_word, chosen)) >= TARGET * len(chosen)
            else:
                for ms in BUFFERS_MS:
                    print(line(f"  holding back {ms} ms", [o for o in chosen if o.buffer_ms == ms]))
    print(f"off by at most one word at >= {TARGET:.0%} where the client reports: {'met' if met else 'MISSED'}")
    if options.json:
        options.json.write_text(json.dumps([asdict(o) for o in outcomes]), "utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
