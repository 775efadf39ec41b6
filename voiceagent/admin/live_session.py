"""Live session: one session in progress as an operator sees it, and those who watch it."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal

from voiceagent.channels.realtime.protocol import RealtimeProtocol
from voiceagent.session.commands import AppendAudio, Command
from voiceagent.session.conversation import AnyItem, Item
from voiceagent.session.events import (
    AudioCommitted,
    Event,
    ItemRetrieved,
    ResponseAudio,
    ResponseDone,
    ResponsePlayed,
    ResponseStarted,
    SpeechStarted,
    TurnTimed,
)
from voiceagent.session.options import SessionOptions
from voiceagent.session.timeline import now

State = Literal["listening", "user", "thinking", "agent"]
"""Nobody talks; the user does; an answer is made; the agent talks."""

EVENTS_WAITING = 256
"""Events that may wait for a watcher; what comes while there are so many is left out, and counted."""
MOST_WATCHERS = 8
"""Of one session."""
QUIET_SECONDS = 15.0
"""Without an event for so long, an empty line tells the middle boxes that the connection lives."""
AS_A_CLIENT = json.dumps(
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "audio": {"input": {"transcription": {"model": "default"}}},
            "voiceagent": {"events": True},
        },
    }
)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """`seconds` since it began; `response_ms` of its last answer; `cost` at the configured prices."""

    id: str
    protocol: str
    tenant: str
    seconds: int
    state: State
    turns: int
    response_ms: int | None
    cost: float
    watchers: int


class LiveSession:
    """A session in progress: an observer of it."""

    def __init__(
        self, session: str, protocol: str, tenant: str, stop: Callable[[], None], count: Callable[[Event], None]
    ) -> None:
        self.session = session
        self.stop = stop
        """Ends it."""
        self._protocol = protocol
        self._tenant = tenant
        self._count = count
        self._began = now()
        self._state: State = "listening"
        self._turns = 0
        self._response_ms: int | None = None
        self._cost = 0.0
        self._heard_ms = 0.0
        self._playing = ""
        self._watchers: set[Watcher] = set()

    def row(self, moment: float) -> SessionRow:
        return SessionRow(
            self.session,
            self._protocol,
            self._tenant,
            int(moment - self._began),
            self._state,
            self._turns,
            self._response_ms,
            self._cost,
            len(self._watchers),
        )

    def watch(self) -> "Watcher | None":
        """Somebody follows it from now on; None when too many do."""
        if len(self._watchers) >= MOST_WATCHERS:
            return None
        watcher = Watcher(self.session, self._watchers)
        self._watchers.add(watcher)
        return watcher

    # -- as an observer ---------------------------------------------------------------------------------------------

    def on_command(self, command: Command) -> None:
        if isinstance(command, AppendAudio):
            self._heard_ms += 1000 * len(command.pcm) / command.rate

    def on_event(self, event: Event) -> None:
        self._count(event)
        self._follow(event)
        if not isinstance(event, ResponseAudio):
            self._show(event)

    def on_item(self, item: AnyItem) -> None:
        if isinstance(item, Item) and item.role == "assistant":  # how much of it was heard
            self._show(ItemRetrieved(item))

    def on_end(self, reason: str) -> None:
        for watcher in list(self._watchers):
            watcher.end()

    def _show(self, event: Event) -> None:
        for watcher in self._watchers:
            watcher.put(Seen(round((now() - self._began) * 1000), round(self._heard_ms), event))

    def _follow(self, event: Event) -> None:
        match event:
            case SpeechStarted():
                self._state = "user"
            case AudioCommitted():
                self._turns += 1
                self._state = "thinking"
            case ResponseStarted():
                self._state = "thinking"
            case ResponseAudio(response_id=response_id):
                self._state, self._playing = "agent", response_id
            case ResponsePlayed(response_id=response_id):
                if response_id == self._playing or self._state == "thinking":
                    self._state = "user" if self._state == "user" else "listening"
            case ResponseDone(usage=usage):
                self._cost += usage.cost
            case TurnTimed(timeline=timeline):
                if timeline.response_ms is not None:
                    self._response_ms = timeline.response_ms
            case _:
                pass


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, milliseconds since the session began, and how many of the user's audio had come."""

    at_ms: int
    heard_ms: int
    event: Event


class Watcher:
    """Follows a session as a Realtime client is told it, without the sound. The session only puts what happens into a
    queue; what is made of it is the watcher's own work."""

    def __init__(self, session: str, among: "set[Watcher]") -> None:
        self._among = among
        self._waiting: deque[Seen] = deque()
        self._news = asyncio.Event()
        self._over = False
        self._missed = 0
        self._count = 0
        self._protocol = RealtimeProtocol(
            session_id=session, model="voiceagent", defaults=SessionOptions(), expires_at=0, new_id=self._new_id
        )
        self._protocol.receive(AS_A_CLIENT)

    def put(self, seen: Seen) -> None:
        if len(self._waiting) < EVENTS_WAITING:
            self._waiting.append(seen)
        else:
            self._missed += 1
        self._news.set()

    def leave(self) -> None:
        """Nobody looks any more."""
        self._among.discard(self)

    def end(self) -> None:
        """There is nothing more to see."""
        self._over = True
        self._news.set()

    async def lines(self) -> AsyncGenerator[str, None]:
        """What happens, as JSON: `{"at", "heard", "event"}`, `{"missed"}` and at last `{"over"}`; "" now and then."""
        while not self._over or self._waiting:
            if not await self._more():
                yield ""
            while self._waiting:
                seen = self._waiting.popleft()
                for frame in self._protocol.encode(seen.event):
                    yield f'{{"at":{seen.at_ms},"heard":{seen.heard_ms},"event":{frame!s}}}'
            if self._missed:
                missed, self._missed = self._missed, 0
                yield f'{{"missed":{missed}}}'
        yield '{"over":true}'

    async def _more(self) -> bool:
        """Wait for news; False when there is none for long."""
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return False
        if not self._over:
            self._news.clear()
        return True

    def _new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"
