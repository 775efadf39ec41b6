"""Chat: a conversation with an agent in writing, over the same session that speech goes through.

Nothing is heard and nothing is spoken, so neither a voice detector nor a recogniser nor a voice is loaded. All else is
as in a spoken conversation: instructions, the prompt and its limits, tools with their deadlines and confirmations,
memory, and the language model with whatever stands around it.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from pydantic import JsonValue

from voiceagent.asr.base import AsrHint, AsrStream
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.channels.channel import ANYONE
from voiceagent.engines import Engines
from voiceagent.errors import EngineError, Stage, VoiceagentError
from voiceagent.llm.base import LlmEngine
from voiceagent.memory.base import MEMORY_STORES, MemoryStore
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.context import SessionResources
from voiceagent.session.conversation import FunctionCall, FunctionOutput, Item, Part
from voiceagent.session.memory_recorder import MemoryRecorder, memory_key
from voiceagent.session.options import SessionOptions
from voiceagent.session.phrases import Phrase
from voiceagent.session.session import Session
from voiceagent.session.settings import DeadlineSection, SilenceSection
from voiceagent.session.timeline import now
from voiceagent.settings import Settings
from voiceagent.tools.toolbox import Toolbox, parse
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.vad.base import VadStream

ANSWER_SECONDS = 120.0
"""How long an answer may take with all its tools, unless the caller says otherwise."""
LEAST_DEADLINE_SECONDS = 60.0
"""How long the model may be silent at least: nobody waits for a sound, and a small machine may be busy."""
IDLE_SECONDS = 7 * 24 * 3600.0
"""How long a chat may be left alone: whoever opened it closes it."""

Finish = Literal["completed", "max_output_tokens", "content_filter"]


class ChatClosed(VoiceagentError):
    """The conversation is over, or was never begun: nothing more can be said in it."""


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A tool that the agent called. `arguments` are empty where the model wrote none that can be read; `result` is what
    the model was told, and `failed` says that it was an error. `ms` is how long the tool took."""

    name: str
    arguments: Mapping[str, JsonValue]
    result: str
    failed: bool = False
    ms: int = 0


@dataclass(frozen=True, slots=True)
class ChatTimings:
    """Milliseconds from what was said: to the first words of the answer (None without any), and to its end."""

    first_text_ms: int | None
    total_ms: int


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The answer to one thing said. `text` is all the agent said, also before it called tools; `calls` are in the order
    in which they were made; `finish` tells an answer that was cut short from a whole one."""

    text: str
    calls: tuple[ChatCall, ...]
    timings: ChatTimings
    finish: Finish = "completed"
    usage: ev.TokenUsage = field(default_factory=ev.TokenUsage)

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Exchange:
    """One thing said and what has come of it so far."""

    began: float
    texts: list[str] = field(default_factory=list)
    called: dict[str, tuple[FunctionCall, float]] = field(default_factory=dict)
    """The calls by their ids, each with when it was made."""
    calls: dict[str, ChatCall] = field(default_factory=dict)
    first_text: float | None = None
    finish: Finish = "completed"
    usage: ev.TokenUsage = field(default_factory=ev.TokenUsage)
    failure: EngineError | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, event: ev.Event) -> None:
        """Note what concerns the answer."""
        match event:
            case ev.ResponseText():
                self.first_text = self.first_text if self.first_text is not None else now()
            case ev.ToolCalled(call=call):
                self.called[call.call_id] = (call, now())
            case ev.ItemDone(item=FunctionOutput(call_id=call_id) as output) if call_id in self.called:
                call, since = self.called[call_id]
                arguments = parse(call.arguments) or {}
                ms = round((now() - since) * 1000)
                self.calls[call_id] = ChatCall(call.name, arguments, output.output, output.failed, ms)
            case ev.ResponseDone():
                self._end_of(event)

    def _end_of(self, done: ev.ResponseDone) -> None:
        """A response has ended: the last one, unless it called tools, whose results are answered by another."""
        if done.item is not None and done.item.text.strip():
            self.texts.append(done.item.text.strip())
        self.usage = ev.TokenUsage(
            self.usage.input_tokens + done.usage.input_tokens,
            self.usage.output_tokens + done.usage.output_tokens,
            self.usage.cached_tokens + done.usage.cached_tokens,
            self.usage.cost + done.usage.cost,
            done.usage.endpoint or self.usage.endpoint,
        )
        if done.status == "failed":
            stage, _, code = (done.error_code or "llm_failed").partition("_")
            self.failure = EngineError(cast(Stage, stage), code, done.error_message or "the answer failed")
        elif done.reason in ("max_output_tokens", "content_filter"):
            self.finish = cast(Finish, done.reason)
        if done.status != "completed" or not done.calls:
            self.over.set()

    def reply(self) -> ChatReply:
        first = None if self.first_text is None else round((self.first_text - self.began) * 1000)
        timings = ChatTimings(first, round((now() - self.began) * 1000))
        calls = tuple(self.calls[call_id] for call_id in self.called if call_id in self.calls)
        return ChatReply(" ".join(self.texts), calls, timings, self.finish, self.usage)


class AgentChat:
    """One conversation in writing, of any number of turns. Made by `Agent.chat()`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._exchange: Exchange | None = None
        self._ended = asyncio.Event()
        self._failure: EngineError | None = None
        self._turn = asyncio.Lock()

    async def say(self, text: str, *, timeout_seconds: float = ANSWER_SECONDS) -> ChatReply:
        """Say something, and wait for the whole answer. One that is given up takes its calls with it, and the
        conversation goes on.

        Raises EngineError when the model fails (`code` says how), Refused for a text of more than 100,000 characters,
        TimeoutError after `timeout_seconds`, ChatClosed when the conversation is over.
        """
        async with self._turn:
            if self._ended.is_set():
                raise ChatClosed("the conversation is over")
            exchange = self._exchange = Exchange(now())
            try:
                self._session.execute(cmd.CreateItem(Item("", "user", (Part("text", text),))))
                self._session.execute(cmd.CreateResponse())
                async with asyncio.timeout(timeout_seconds):
                    await self._over(exchange)
            except BaseException:
                if not self._ended.is_set() and not exchange.over.is_set():
                    self._session.execute(cmd.Interrupt())
                raise
            finally:
                self._exchange = None
            if exchange.failure is not None:
                raise exchange.failure
            return exchange.reply()

    async def _over(self, exchange: Exchange) -> None:
        """Wait for the end of the answer, or of the whole conversation."""
        await exchange.over.wait()
        if self._ended.is_set() and exchange.failure is None:
            raise self._failure or ChatClosed("the conversation ended before the answer")

    def on_event(self, event: ev.Event) -> None:
        """Take an event of the session."""
        if self._exchange is not None:
            self._exchange.take(event)

    async def run(self, session: Session) -> None:
        """Hold the session, and tell whoever waits when it ends."""
        try:
            await session.run()
        except* EngineError as group:
            self._failure = _first(group)
        finally:
            self._ended.set()
            if self._exchange is not None:
                self._exchange.over.set()


@asynccontextmanager
async def open_chat(
    settings: Settings, llm: LlmEngine, toolbox: Toolbox, *, user: str = "", variables: Mapping[str, str] | None = None
) -> AsyncIterator[AgentChat]:
    """A conversation with what these settings say; the model, the tools and the memory are open as long as it is.
    `user` names whose memory it has, `variables` fill the instructions. Raises ConfigError."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(llm.close)
        await llm.open()
        memory: MemoryStore | None = None
        if settings.memory.enabled:
            memory = MEMORY_STORES.make("[memory]", settings.memory.with_options())
            stack.push_async_callback(memory.close)
            await memory.open()
        stack.push_async_callback(toolbox.close)
        await toolbox.open()
        resources = SessionResources(
            Engines(vad=SilentVad(), asr=SilentAsr(), llm=llm, tts=SilentTts()),
            replace(
                settings.session,
                silence=SilenceSection(),
                deadlines=_patient(settings.deadlines),
                duration=settings.limits.model_copy(
                    update={"idle_seconds": IDLE_SECONDS, "session_seconds": IDLE_SECONDS}
                ),
            ),
            Phrase(settings.agent.apology, silence(0), EAR_RATE),
            toolbox=toolbox,
        )
        options = SessionOptions(
            instructions=settings.agent.instructions,
            modality="text",
            language=settings.agent.language,
            turn=None,
            variables=variables or {},
        )
        recorder = MemoryRecorder(memory, memory_key(ANYONE, user) if user else None, limit=2 * settings.memory.turns)

        def emit(event: ev.Event) -> None:
            chat.on_event(event)

        session = Session(
            _new_id("sess"),
            resources,
            options,
            emit=emit,
            new_id=_new_id,
            memory_recorder=recorder,
            tenant=ANYONE,
            user=user,
        )
        chat = AgentChat(session)
        running = asyncio.create_task(chat.run(session), name="chat")
        try:
            ready = asyncio.create_task(session.ready.wait())
            await asyncio.wait((ready, running), return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            yield chat
        finally:
            running.cancel()
            await asyncio.wait((running,))
        if not running.cancelled():
            running.result()


class SilentVad:
    """The voice detector of a conversation in writing: there is no microphone."""

    async def open(self) -> None: ...

    def stream(self) -> VadStream:
        return SilentStream()

    async def close(self) -> None: ...


class SilentStream:
    async def push(self, pcm: Pcm) -> list[float]:
        return []

    def reset(self) -> None: ...


class SilentAsr:
    """The recogniser of a conversation in writing: nothing is ever given to it."""

    async def open(self) -> None: ...

    def stream(self, hint: AsrHint) -> AsrStream:
        raise EngineError("asr", "failed", "a conversation in writing is not heard")

    async def close(self) -> None: ...


class SilentTts:
    """The voice of a conversation in writing: nothing is ever given to it."""

    sample_rate = EAR_RATE

    async def open(self) -> None: ...

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        raise EngineError("tts", "failed", "a conversation in writing is not spoken")
        yield TtsAudio(silence(0))  # never reached: it makes this a stream

    async def close(self) -> None: ...


def _patient(deadlines: DeadlineSection) -> DeadlineSection:
    """The deadlines of a conversation in which nobody listens to silence."""
    names = ("llm_first_token_seconds", "llm_next_token_seconds")
    return deadlines.model_copy(update={name: max(getattr(deadlines, name), LEAST_DEADLINE_SECONDS) for name in names})


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"


def _first(group: BaseExceptionGroup[EngineError]) -> EngineError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, EngineError)
    return error
