"""Is the answer ready when the turn is over? `python -m benchmarks.ready [--clips N] [--json FILE]`.

Recorded turns of people are spoken, one after the other and at their own pace, to a server in its own process. From
the message that the turn is committed to the arrival of the answer's first audible sample: with the embedded engines,
and with a model behind HTTP that takes 200 ms to its first word. Beside it stand the delay from the true end of speech
to the commit, which is the endpointer's, and the sum of both, which is what the user waits.
"""

import argparse
import asyncio
import base64
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.barge_in_clips import decode, speech_folder
from benchmarks.intervals import percentile
from benchmarks.recording import converted
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.audio.pcm import EAR_RATE, Pcm, from_bytes, silence, to_bytes
from voiceagent.cli.demo import server

RATE = 24_000
FRAME = RATE // 50
CLIPS = 30
SHORTEST, LONGEST = 1.2, 5.0
"""Seconds of the clips that are spoken."""
PATIENCE = 8.0
"""Seconds after the clip in which the answer must begin."""
AUDIBLE = 328
"""One per cent of full scale."""
SLOW_MODEL = 0.2
ANSWER = "That is a good question. Let me tell you what I know about it."
TARGETS = {"embedded": 120.0, "slow model": 30.0}
"""Milliseconds at the median."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recorded turn at RATE; `end` is the labelled end of its speech in seconds."""

    name: str
    pcm: Pcm
    end: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Milliseconds: from the end of speech to the last commit before the answer, and from there to the answer."""

    clip: str
    endpointing_ms: float
    ready_ms: float


def chosen(folder: Path, count: int) -> list[Spoken]:
    """Clips of as many speakers as there are, in the order of their files."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["use"] == "turn" and SHORTEST <= row["seconds"] <= LONGEST]
    seen: dict[str, int] = {}
    ranked = []
    for row in rows:
        speaker = str(row["speaker"])
        seen[speaker] = seen.get(speaker, 0) + 1
        ranked.append((seen[speaker], row["file"], row))
    ranked.sort(key=lambda entry: entry[:2])
    return [
        Spoken(name, converted(decode(folder / name), EAR_RATE, RATE), row["speech_end"])
        for _, name, row in ranked[:count]
    ]


async def spoken_to(url: str, clip: Spoken) -> Turn | None:
    """Say it and wait for the answer's first sound; None when there is no answer."""
    loop = asyncio.get_running_loop()
    async with connect(url, max_size=None) as socket:
        began = loop.time()
        speaking = asyncio.create_task(speak(socket, clip, began))
        try:
            async with asyncio.timeout(len(clip.pcm) / RATE + PATIENCE):
                committed, answered = await answer(socket, loop.time)
        except TimeoutError:
            return None
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    return Turn(clip.name, (committed - began - clip.end) * 1000, (answered - committed) * 1000)


async def speak(socket: ClientConnection, clip: Spoken, began: float) -> None:
    """The clip, then silence, each frame when its last sample is due."""
    loop = asyncio.get_running_loop()
    sent = 0
    while True:
        pcm = clip.pcm[sent : sent + FRAME]
        pcm = np.concatenate((pcm, silence(FRAME - len(pcm))))
        sent += FRAME
        await asyncio.sleep(began + sent / RATE - loop.time())
        audio = base64.b64encode(to_bytes(pcm)).decode()
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


async def answer(socket: ClientConnection, now: Callable[[], float]) -> tuple[float, float]:
    """When the last turn before the answer was committed, and when the answer could first be heard."""
    committed = 0.0
    async for message in socket:
        arrived = now()
        event = json.loads(message)
        match event["type"]:
            case "input_audio_buffer.committed":
                committed = arrived
            case "response.output_audio.delta":
                loud = np.flatnonzero(np.abs(from_bytes(base64.b64decode(event["delta"])).astype(int)) > AUDIBLE)
                if len(loud):
                    return committed, arrived + loud[0] / RATE
    raise TimeoutError


async def measured(config: Path | None, clips: list[Spoken]) -> list[Turn]:
    async with server(config) as url:
        await spoken_to(url, clips[0])  # the first talk warms the engines up
        return [turn for clip in clips if (turn := await spoken_to(url, clip)) is not None]


async def run(folder: Path, count: int) -> dict[str, list[Turn]]:
    clips = chosen(folder, count)
    found = {"embedded": await measured(None, clips)}
    reply = Reply(ANSWER, first_token_seconds=SLOW_MODEL, token_seconds=0.02)
    async with ScriptedLlm([reply]) as model:
        with tempfile.TemporaryDirectory() as scratch:
            config = Path(scratch) / "slow.toml"
            config.write_text(f'[llm]\nengine = "openai"\nbase_url = "{model.base_url}"\n', "utf-8")
            found["slow model"] = await measured(config, clips)
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ready", description=__doc__)
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"how many turns are spoken (default: {CLIPS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all turns there")
    options = parser.parse_args(argv)
    folder = speech_folder()
    if folder is None:
        print("skipped: no recordings; set VOICEAGENT_SPEECH to the folder that holds their manifest.jsonl")
        return 0
    found = asyncio.run(run(folder, options.clips))
    met = True
    for name, turns in found.items():
        ready = [turn.ready_ms for turn in turns]
        good = float(np.median(ready)) <= TARGETS[name]
        met = met and good
        print(f"{name}, n={len(turns)} of {options.clips} turns answered; milliseconds, median [95 % interval]")
        print(f"  end of speech to commit   {percentile([turn.endpointing_ms for turn in turns], 50)}")
        print(f"  commit to first sound     {percentile(ready, 50)}, p95 {percentile(ready, 95)}")
        print(f"  commit to first sound <= {TARGETS[name]:.0f} at the median: {'met' if good else 'MISSED'}")
        print(f"  what the user waits       {percentile([t.endpointing_ms + t.ready_ms for t in turns], 50)}")
    if options.json:
        options.json.write_text(json.dumps({k: [asdict(t) for t in v] for k, v in found.items()}), "utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
