"""Holds the same scripted conversation over any protocol, in virtual time: the true driver, protocol and session, with
engines that read a script. `python -m tests.every_protocol` prints what comes of it as a table."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import looptime

from tests.session.test_items import Notes
from tests.support.every_protocol.clients import OPTIONS, STEP, Client
from tests.support.every_protocol.kinds import KINDS, Kind
from tests.support.every_protocol.script import (
    ENGLISH,
    HEARD_SHARE,
    WEATHER,
    WORD_SECONDS,
    Script,
    ScriptAsr,
    ScriptModel,
    Sounded,
    ToneVoice,
    read_back,
    words,
)
from tests.support.session.bench import APOLOGY, NoiseVoice
from tests.support.session.tools import PlainTool, box
from tests.support.xiaozhi.room import LevelVad
from voiceagent.engines import Engines
from voiceagent.server.connection import ConnectionHandler
from voiceagent.server.metrics import Metrics
from voiceagent.session.context import SessionResources
from voiceagent.session.conversation import FunctionCall, FunctionOutput, Item
from voiceagent.session.events import Event
from voiceagent.session.memory_recorder import MemoryRecorder
from voiceagent.session.phrases import Fillers
from voiceagent.session.session import Session
from voiceagent.settings import Settings

LONGEST = 120.0
"""Virtual seconds that the conversation may take."""
SILENT_SECONDS = 0.8
"""After so much silence the user takes it that the agent has finished."""
TURN_SECONDS = 1.0
"""How long the user speaks at a time."""
LEAVING = (("call", "end_call"), ("result", "done"))
"""Where the agent hangs up, that is part of the conversation."""


@dataclass(frozen=True)
class Outcome:
    """What is left of a conversation. Items are roles and texts; calls of tools and their results are items too."""

    kind: Kind
    script: Script
    items: list[tuple[str, str]]
    memory: list[str]
    """What the store was told to keep, in order."""
    shown: list[tuple[str, str]]
    """What the model was shown for its last answer."""
    sounded: list[Sounded]
    """What came out of the loudspeaker."""
    closed: int | None
    busy: bool
    """Something of the agent's was still going on."""

    @property
    def conversation(self) -> list[tuple[str, str]]:
        return [item for item in self.items if item not in LEAVING]

    @property
    def heard(self) -> str:
        """The story's text in the conversation."""
        return self.conversation[5][1]

    @property
    def story(self) -> list[Sounded]:
        """What came out of the loudspeaker of the story."""
        return [one for one in self.sounded if one.word in words(self.script.story)]

    @property
    def story_seconds(self) -> float:
        return sum(one.seconds for one in self.story)

    @property
    def story_words(self) -> list[str]:
        """Of those as many as a listener would have heard."""
        return [one.word for one in self.story if one.seconds >= HEARD_SHARE * WORD_SECONDS]


def told(item: object) -> tuple[str, str]:
    match item:
        case Item(role=role):
            return role, item.text
        case FunctionCall(name=name):
            return "call", name
        case FunctionOutput(output=output):
            return "result", output
        case _:
            return "other", type(item).__name__


class User:
    """Somebody who goes by the script, and by what comes out of the loudspeaker."""

    def __init__(self, client: Client, asr: ScriptAsr, script: Script) -> None:
        self._client = client
        self._asr = asr
        self._script = script

    async def talk(self) -> None:
        client, script = self._client, self._script
        await asyncio.sleep(0.5)
        await self._say(script.question)
        await self._listen()
        before = client.played_seconds
        await self._say(script.wish)
        await self._until(lambda: client.played_seconds >= before + script.cut_at)
        self._asr.saying = script.stop
        await client.cut_in(TURN_SECONDS)
        await self._listen()
        await client.type(script.keys)
        await self._listen()
        await self._say(script.end)
        await self._listen()
        await client.leave()

    async def _say(self, text: str) -> None:
        self._asr.saying = text
        await self._client.say(TURN_SECONDS)

    async def _listen(self) -> None:
        """Until the agent has said something and then nothing for a while."""
        before = since = self._client.played_seconds
        await self._until(lambda: self._client.played_seconds > since)
        while self._client.played_seconds > before:
            before = self._client.played_seconds
            await asyncio.sleep(SILENT_SECONDS)

    async def _until(self, so: Callable[[], bool]) -> None:
        while not so():  # noqa: ASYNC110 - it is time that changes it
            await asyncio.sleep(STEP)


async def converse(kind: Kind, script: Script = ENGLISH) -> Outcome:
    """Fails when the conversation or its client does."""
    pipe, client, protocol = kind.connect()
    asr, model, voice, notes = ScriptAsr(), ScriptModel(script), ToneVoice(script), Notes()
    settings, numbers = Settings(), itertools.count(1)
    toolbox = box(PlainTool(WEATHER, script.result))
    fillers = Fillers(NoiseVoice(), settings.filler)
    shared = SessionResources(
        Engines(LevelVad(), asr, model, voice), settings.session, APOLOGY, toolbox=toolbox, fillers=fillers
    )
    sessions: list[Session] = []

    def make_session(emit: Callable[[Event], None]) -> Session:
        sessions.append(
            Session(
                "sess_1",
                shared,
                OPTIONS,
                emit=emit,
                new_id=lambda prefix: f"{prefix}_{next(numbers)}",
                memory_recorder=MemoryRecorder(notes, "somebody", limit=8),
            )
        )
        return sessions[0]

    connection = ConnectionHandler(pipe, protocol, make_session, Metrics())
    async with asyncio.timeout(LONGEST), asyncio.TaskGroup() as tasks:
        tasks.create_task(connection.run(), name="connection")
        tasks.create_task(client.run(), name="client")
        await User(client, asr, script).talk()
    client.check()
    (session,) = sessions
    return Outcome(
        kind,
        script,
        items=[told(item) for item in session.conversation.items],
        memory=list(notes.now().values()),
        shown=[(message.role, message.content) for message in model.requests[-1].messages],
        sounded=read_back(client.played(), client.rate, script),
        closed=pipe.close_code,
        busy=session.busy,
    )


def table(outcomes: list[Outcome]) -> str:
    """A row for each protocol: what it played of the story until it was silent, and what the memory has of that."""
    rows = ["| protocol | heard position by | played of the reply | in memory as heard |", "|---|---|---|---|"]
    for outcome in outcomes:
        played = f"{outcome.story_seconds:.2f} s, {len(outcome.story_words)} words"
        rows.append(f"| {outcome.kind.name} | {outcome.kind.position} | {played} | {outcome.heard} |")
    return "\n".join(rows)


def main() -> None:
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        print(table([runner.run(converse(kind)) for kind in KINDS]))


if __name__ == "__main__":
    main()
