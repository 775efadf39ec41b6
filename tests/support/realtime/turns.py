"""The four turns that every framework's client goes through: voice, text, tool and barge-in; and what they must show.

A client is a process of its own that takes all its turns in real time and tells what it got as JSON lines."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.realtime.wire import Json, read
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak
from voiceagent.audio.pcm import to_bytes
from voiceagent.server.settings import ServerSection
from voiceagent.settings import Settings

RUN_SECONDS = 60.0
SPOKEN = {
    "question": "What is the capital of France?",
    "weather": "Please tell me the weather in town.",
    "moon": "Tell me all about the moon.",
    "stop": "Stop, that is enough for now.",
}

MOON = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far."
)


def answer(messages: list[dict[str, str]]) -> Reply | str:
    said = messages[-1]["content"]
    if messages[-1]["role"] == "tool":
        return "There is {}.".format(said.strip('"'))  # Pipecat sends results as JSON
    if "weather" in said:
        return Reply(calls=[("get_weather", '{"city": "Bonn"}')])
    if "moon" in said:
        return MOON
    return "It is Paris." if "France" in said else "Fine." if "enough" in said else "Hello there."


def save_speech(folder: Path, speak: Speak) -> None:
    """What the user says, as PCM."""
    for name, words in SPOKEN.items():
        (folder / f"{name}.pcm").write_bytes(to_bytes(speak(words)))


@asynccontextmanager
async def serving(engines_for: EnginesFor, server: ServerSection) -> AsyncIterator[tuple[str, ScriptedLlm]]:
    async with ScriptedLlm(answer) as llm, running(Settings(server=server), engines_for(llm.base_url)) as (_, url):
        yield url.removeprefix("ws://"), llm


async def run(command: Sequence[str], folder: Path, wanted: Mapping[str, object], **environment: str) -> list[Json]:
    """What the client told, line by line. Fails when it did not come to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        json.dumps(wanted),
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    lines: list[Json] = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0, f"{err.decode()[-2000:]}\n{[line for line in lines if 'event' not in line]}"
    return lines


class Told:
    """What a client told, by turns; every event of the server's is checked."""

    def __init__(self, lines: Iterable[Json]) -> None:
        self.turns: dict[str, list[Json]] = {"start": []}
        self.rest: list[Json] = []
        turn = "start"
        for line in lines:
            if "event" in line:
                self.turns[turn].append(read(json.dumps(line["event"])))
            elif "turn" in line:
                self.turns[turn := str(line["turn"])] = []
            else:
                self.rest.append(line)

    def kinds(self, turn: str) -> list[str]:
        return [str(event["type"]) for event in self.turns[turn]]

    def words(self, turn: str) -> list[str]:
        """What the agent said and wrote."""
        kinds = {"response.output_audio_transcript.done": "transcript", "response.output_text.done": "text"}
        told = self.turns[turn]
        return [str(event[kinds[kind]]) for event in told if (kind := str(event["type"])) in kinds]

    def responses(self, turn: str) -> list[tuple[object, list[object]]]:
        """Status and kinds of items of each."""
        done = [cast(Json, event["response"]) for event in self.turns[turn] if event["type"] == "response.done"]
        return [(each["status"], [item["type"] for item in cast(list[Json], each["output"])]) for each in done]


def check(told: Told, llm: ScriptedLlm) -> None:
    """What holds for any client."""
    assert told.words("voice") == ["It is Paris."]
    assert "response.output_audio.delta" in told.kinds("voice")
    assert told.words("text") == ["Hello there."]
    assert told.words("tool") == ["There is rain in Bonn."]
    assert told.responses("tool") == [("completed", ["function_call"]), ("completed", ["message"])]
    assert told.responses("barge-in") == [("cancelled", ["message"]), ("completed", ["message"])]
    kinds = told.kinds("barge-in")
    assert kinds.index("input_audio_buffer.speech_started") < kinds.index("response.output_audio.done")
    assert "conversation.item.truncated" in kinds
    cut, last = told.words("barge-in")
    assert MOON.startswith(cut)
    assert len(cut) < len(MOON)
    assert last == "Fine."
    messages = llm.requests[-1].messages
    heard = messages[-2]["content"]
    assert MOON.startswith(heard)
    assert len(heard) < len(MOON) / 2
    transcripts = "conversation.item.input_audio_transcription.completed"
    (question,) = [event["transcript"] for event in told.turns["voice"] if event["type"] == transcripts]
    assert "capital of France" in str(question)
