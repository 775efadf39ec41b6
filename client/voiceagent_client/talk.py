"""Talks by microphone and loudspeaker: hands-free, by push-to-talk, or after a wake word."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from voiceagent_client.connection import RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.errors import ConnectError
from voiceagent_client.happenings import Happening, Interrupted, ResponseDone, ResponsePlayed, ResponseStarted
from voiceagent_client.jobs import together
from voiceagent_client.keys import SPACE, keys
from voiceagent_client.microphone import Microphone
from voiceagent_client.playback import Player
from voiceagent_client.push import PushMode, PushToTalk
from voiceagent_client.screen import Screen
from voiceagent_client.transcript import Line
from voiceagent_client.wake import WakeWord

FORGET_SECONDS = 600.0
"""After so long asleep a new conversation begins; before, the last one goes on."""

ANSWER_SECONDS = 300.0
"""An answer that is neither over nor heard of for so long is none."""

PUSH_HINTS: dict[PushMode, str] = {"hold": "hold space to talk", "toggle": "space starts and ends your turn"}


@dataclass(frozen=True, slots=True)
class Booth:
    """All that a talk needs."""

    connect: Callable[[], RealtimeConnection]
    microphone: Microphone
    player: Player
    screen: Screen


async def hands_free(booth: Booth) -> None:
    """Until the server ends it."""
    async with booth.connect() as connection:
        conversation = Conversation(connection, booth.microphone, booth.player, booth.screen.show)
        await together(conversation.run(), booth.screen.draw(booth.microphone, lambda: "listening"))


async def by_push(booth: Booth, mode: PushMode) -> None:
    """Until the server ends it. The connection must have asked for no turn detection."""
    push = PushToTalk(mode, booth.microphone)

    def idle() -> str:
        return "you talk" if booth.microphone.on else PUSH_HINTS[mode]

    with keys(lambda key: push.key() if key == SPACE else None):
        async with booth.connect() as connection:
            conversation = Conversation(connection, booth.microphone, booth.player, booth.screen.show)
            await together(conversation.run(), push.run(conversation), booth.screen.draw(booth.microphone, idle))


async def by_wake_word(booth: Booth, word: WakeWord, awake_seconds: float) -> None:
    """For ever: asleep, without a connection, until the word is heard; awake until nobody has talked for
    `awake_seconds`. A server that cannot be reached is tried again at the next word. RefusedError: never."""
    sleeper = _Sleeper(booth, word, awake_seconds)
    await together(sleeper.run(), booth.screen.draw(booth.microphone, sleeper.idle))


class _Sleeper:
    def __init__(self, booth: Booth, word: WakeWord, awake_seconds: float) -> None:
        self._booth = booth
        self._word = word
        self._awake_seconds = awake_seconds
        self._asleep = True
        self._history: tuple[Line, ...] = ()

    def idle(self) -> str:
        return f'asleep; say "{self._word.spoken}"' if self._asleep else "listening"

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            since = clock()
            while not self._word.hears((await self._booth.microphone.read()).pcm):
                pass
            if clock() - since > FORGET_SECONDS:
                self._history = ()
            self._asleep = False
            try:
                await self._wake()
            except ConnectError as failed:
                self._booth.screen.say(str(failed))
            finally:
                self._asleep = True
                self._booth.player.flush()

    async def _wake(self) -> None:
        patience = Patience(self._awake_seconds)

        def tell(happening: Happening) -> None:
            patience.notice(happening)
            self._booth.screen.show(happening)

        async with self._booth.connect() as connection:
            conversation = Conversation(
                connection, self._booth.microphone, self._booth.player, tell, history=self._history
            )
            try:
                await conversation.run(patience.run())
            finally:
                self._history = conversation.transcript


class Patience:
    """Waits until nothing has happened for some seconds while no answer was under way; a conversation's happenings
    must be passed on to `notice`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answering = False
        self._happened = asyncio.Event()

    def notice(self, happening: Happening) -> None:
        match happening:
            case ResponseStarted():
                self._answering = True
            case Interrupted() | ResponsePlayed() | ResponseDone(status="cancelled" | "failed"):
                self._answering = False
        self._happened.set()

    async def run(self) -> None:
        while True:
            self._happened.clear()
            try:
                async with asyncio.timeout(ANSWER_SECONDS if self._answering else self._seconds):
                    await self._happened.wait()
            except TimeoutError:
                return
