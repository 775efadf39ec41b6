"""The same scripted conversation over every protocol: the same memory, the same heard text, nothing said twice."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.every_protocol_clients import KINDS, OPTIONS, Client, Kind
from tests.every_protocol_script import (
    CHINESE,
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
from tests.session_bench import APOLOGY, NoiseVoice
from tests.session_tools import PlainTool, box
from tests.test_session_items import Notes
from tests.xiaozhi_room import LevelVad
from voiceagent.engines import Engines
from voiceagent.llm.base import Message
from voiceagent.server.driver import Connection
from voiceagent.server.metrics import Metrics
from voiceagent.session.events import Event
from voiceagent.session.items import AnyItem, FunctionCall, FunctionOutput, Item
from voiceagent.session.phrases import Fillers
from voiceagent.session.remember import Remembrance
from voiceagent.session.session import Session
from voiceagent.session.talk import Shared
from voiceagent.settings import Settings

pytestmark = pytest.mark.looptime

DEADLINE = 40.0
"""Virtual seconds that any step may take."""
LONGEST = 120.0
"""Likewise the whole conversation."""
SILENT_SECONDS = 0.8
"""After so much silence the user takes it that the agent has finished."""
CUT_AT = 3.4
"""Seconds of the story after which the user begins to speak."""


@dataclass
class Outcome:
    """What is left of a conversation."""

    kind: Kind
    items: list[tuple[str, str]]
    """Roles and texts; calls of tools and their results as such."""
    memory: list[tuple[str, str]]
    shown: list[tuple[str, str]]
    """What the model was shown at the end."""
    sounded: list[Sounded]
    """What came out of the loudspeaker."""
    story: list[str]
    """The words of the story that did, as far as they count as heard."""
    story_seconds: float
    closed: int | None


def told(item: AnyItem) -> tuple[str, str]:
    match item:
        case Item():
            return item.role, item.text.strip()
        case FunctionCall():
            return "call", item.name
        case FunctionOutput():
            return "result", item.output


def shown(message: Message) -> tuple[str, str]:
    return message.role, message.content.strip()


@dataclass
class Talk:
    """One conversation as it goes on."""

    client: Client
    asr: ScriptAsr
    story: list[float] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool], step: float) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(step)

    async def listen(self, since: float) -> None:
        """Until the agent has said something and then nothing for a while."""
        await self.until(lambda: self.client.played_seconds > since, 0.1)
        before = -1.0
        while self.client.played_seconds > before:
            before = self.client.played_seconds
            await asyncio.sleep(SILENT_SECONDS)

    async def ask(self, text: str) -> None:
        """A turn by voice, heard to its answer's end."""
        since = self.client.played_seconds
        await self.say(text)
        await self.listen(since)

    async def say(self, text: str) -> None:
        self.asr.saying = text
        await self.client.say(1.0)

    async def hold(self, script: Script) -> None:
        client = self.client
        await asyncio.sleep(0.5)
        since = client.played_seconds
        await self.say(script.wish)
        await self.until(lambda: client.played_seconds > since + CUT[0], 0.02)
        self.asr.saying = script.stop
        cutting = asyncio.create_task(client.cut_in(1.0), name="user")
        await cutting
        await self.listen(client.played_seconds)


CUT=[3.4]

async def converse(kind: Kind, script: Script) -> Outcome:
    pipe, client, protocol = kind.connect()
    asr, model, voice, notes = ScriptAsr(), ScriptModel(script), ToneVoice(script), Notes()
    settings, numbers = Settings(), itertools.count(1)
    sessions: list[Session] = []

    def make_session(emit: Callable[[Event], None]) -> Session:
        sessions.append(
            Session(
                "sess_1",
                Shared(
                    Engines(LevelVad(), asr, model, voice),
                    settings,
                    APOLOGY,
                    toolbox=box(PlainTool(WEATHER, script.result)),
                    fillers=Fillers(NoiseVoice(), settings.filler),
                ),
                OPTIONS,
                emit=emit,
                new_id=lambda prefix: f"{prefix}_{next(numbers)}",
                remembrance=Remembrance(notes, "someone", limit=8),
            )
        )
        return sessions[0]

    connection = Connection(pipe, protocol, make_session, Metrics())
    serving = asyncio.create_task(connection.run(), name="connection")
    living = asyncio.create_task(client.run(), name="client")
    try:
        async with asyncio.timeout(LONGEST):
            await Talk(client, asr).hold(script)
    finally:
        connection.stop("ended")
        living.cancel()
        await asyncio.gather(living, serving, return_exceptions=True)
    session = sessions[0]
    sounded = read_back(client.played(), client.rate, script)
    story = [one for one in sounded if one.word in words(script.story)]
    return Outcome(
        kind,
        [told(item) for item in session._talk.conversation.items],
        list(notes.now().items()),
        [shown(message) for message in model.told()],
        sounded,
        [one.word for one in story if one.seconds >= HEARD_SHARE * WORD_SECONDS],
        sum(one.seconds for one in story),
        pipe.close_code,
    )



@pytest.mark.parametrize("cut", [2.0, 2.1,2.2,2.3,2.4,2.5])
@pytest.mark.parametrize("script", [ENGLISH, CHINESE], ids=["english", "chinese"])
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
async def test_one(kind: Kind, script: Script, cut) -> None:
    CUT[0]=cut
    o = await converse(kind, script)
    print("@@", kind.name, kind.position, cut, round(o.story_seconds, 2), len(o.story), len(words(o.items[1][1])), "" if len(o.story)==len(words(o.items[1][1])) else "DIFF", o.items[-1])
