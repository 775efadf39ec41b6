"""A small language model inside this process, so that the agent talks without key or network.

llama.cpp runs it, with continuous batching, behind its own OpenAI-compatible server on loopback; it is spoken to like
any other endpoint.
"""

import asyncio
import logging
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import xllamacpp
from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr

from voiceagent.errors import ConfigError, EngineError
from voiceagent.llm.base import INSTRUCTIONS, Completed, LlmEvent, LlmRequest, Message
from voiceagent.llm.dialects.layout import OPENING
from voiceagent.llm.dialects.openai import OpenAILlm, OpenAILlmOptions
from voiceagent.llm.slots import Slots
from voiceagent.models.store import ModelStore

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "smollm2-135m-instruct"
QUIET = -1
"""llama.cpp's verbosity without any line on stderr; failures reach us as exceptions and HTTP statuses."""
SEED_SECONDS = 60.0
LEAST_TALK_TOKENS = 64
REUSED_TOKENS = 32
"""Cached runs of at least this many tokens are kept when something before them is dropped."""

EXAMPLES = (
    ("Hello, my name is Peter.", "Hello Peter, nice to meet you!"),
    ("What is the largest ocean?", "The Pacific is the largest ocean on Earth."),
    ("What is my name?", "Your name is Peter."),
    ("I have a cat called Mimi.", "Mimi is a lovely name for a cat."),
    ("What is my cat called?", "Your cat is called Mimi."),
    ("How are you?", "I am fine, thank you. How can I help you?"),
    ("Who are you?", "I am your voice assistant. I can answer your questions."),
    ("Hi, I am Lisa.", "Hello Lisa, nice to meet you!"),
    ("How many months are in a year?", "There are twelve months in a year."),
    ("What is my name?", "Your name is Lisa."),
    ("I come from Norway.", "Norway is a beautiful country."),
    ("Where do I come from?", "You come from Norway."),
    ("Hello, my name is Mark.", "Hello Mark, nice to meet you!"),
    ("Who painted the Mona Lisa?", "Leonardo da Vinci painted the Mona Lisa."),
    ("What is my name?", "Your name is Mark."),
)
"""Put between the instructions and the talk. Without them SmolLM2-135M repeats the user's words, rambles and forgets
names; with them, 33 of 35 test questions at temperature 0 were answered well. Three people, so that it does not take
the first name for every user's."""


class EmbeddedLlmOptions(BaseModel):
    """A model inside the process, by llama.cpp."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = DEFAULT_MODEL
    """A name of the catalogue, or the path of a GGUF file."""
    context: int = Field(default=2048, ge=512)
    """Tokens that hold a session's prompt and answer."""
    parallel: int = Field(default=4, ge=1, le=64)
    """Sessions answered at the same moment, each keeping its state (23 kB a token for the default model)."""
    threads: int | None = Field(default=None, ge=1)
    """None leaves one core to hearing and speaking: measured on two busy cores, a second thread made each token ten
    times slower."""
    temperature: float = Field(default=0.0, ge=0)
    """0: always the likeliest token."""
    repeat_penalty: float = Field(default=1.05, ge=1)
    """Above 1 makes the model less prone to repeat itself."""
    max_tokens: int = Field(default=160, ge=1)
    """The longest answer."""
    examples: tuple[tuple[str, str], ...] | None = None
    """Pairs of what a user says and a fitting answer, which teach a small model more than instructions do; none: the
    built-in ones, for the default model only."""


class EmbeddedLlm:
    """The model's server and the client that speaks to it. At temperature 0 an answer is repeatable but for near ties,
    which may fall out otherwise when a prompt is read in other pieces.

    Loading and unloading hold Python's global lock (0.3 s and 0.05 s when measured), so the event loop stands still
    meanwhile: open the engine before serving. May be used from another loop than it was opened on.

    Tools are left out, calls in the talk and their results too: models of this size do not use them well.
    """

    Options = EmbeddedLlmOptions

    def __init__(self, options: EmbeddedLlmOptions, models: ModelStore) -> None:
        self._options = options
        self._models = models
        self._slots = Slots(0)
        self._examples = _messages(_examples(options))
        self._worker: ThreadPoolExecutor | None = None
        self._servers: list[object] = []
        self._client: OpenAILlm | None = None
        self._start_tokens = 0

    @property
    def talk_tokens(self) -> int:
        """How many tokens of talk fit beside the answer and instructions of the default's length; longer ones take from
        it. Known once open."""
        return self._options.context - self._options.max_tokens - self._start_tokens

    async def open(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="llm")
        try:
            await self._start(self._worker)
        except BaseException:
            await self.close()
            raise

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Stream one answer. A prompt longer than the context is refused (`context_length`)."""
        if self._client is None:
            raise EngineError("llm", "unavailable", "the language model is not open")
        with self._slots.taken(request.messages) as slot:
            extra: dict[str, JsonValue] = {} if slot is None else {"id_slot": slot}
            messages = self._with_examples(_spoken(request.messages))
            async with aclosing(self._client.reply(LlmRequest(messages, request.max_tokens), extra)) as events:
                async for event in events:
                    yield event

    async def close(self) -> None:
        """Answers still being streamed are broken off."""
        worker, self._worker = self._worker, None
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        if worker is not None:
            await asyncio.get_running_loop().run_in_executor(worker, self._servers.clear)
            worker.shutdown(wait=False)

    async def _start(self, worker: ThreadPoolExecutor) -> None:
        self._slots = Slots(self._options.parallel)
        key = secrets.token_urlsafe()  # or any program, and any web page, of this machine could use the server
        with tempfile.TemporaryDirectory(prefix="voiceagent-") as folder:
            address = await asyncio.get_running_loop().run_in_executor(worker, self._load, key, folder)
            options = OpenAILlmOptions(
                base_url=f"{address}/v1",
                api_key=SecretStr(key),
                model=self._options.model,
                temperature=self._options.temperature,
                max_tokens=self._options.max_tokens,
                extra_body={"repeat_penalty": self._options.repeat_penalty},
                keepalive_seconds=0,  # the server gives each idle connection a thread
            )
            self._client = OpenAILlm(options, self._models)
            await self._client.open()
            try:
                await self._warm_up(address, key)
            except EngineError as error:
                raise ConfigError(f"[llm] the embedded model does not answer: {error}") from None
        if self.talk_tokens < LEAST_TALK_TOKENS:
            raise ConfigError("[llm] context is too small for the instructions, the examples and max_tokens; raise it")

    def _load(self, key: str, folder: str) -> str:
        """Start the server; returns its address. Runs on the worker, which must also let go of it."""
        path = _model_file(self._options.model, self._models)
        options = self._options
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = options.parallel
        params.n_ctx = options.parallel * options.context
        params.cpuparams.n_threads = options.threads or max(1, _cores() - 1)
        params.n_threads_http = 2 * options.parallel + 4  # waiting requests hold one each
        params.verbosity = QUIET
        params.api_keys = [key]
        params.slot_save_path = folder + os.sep
        params.cache_ram_mib = 0  # else it keeps up to 8 GB of old prompts
        params.n_cache_reuse = REUSED_TOKENS
        params.ui = False
        try:
            server = xllamacpp.Server(params)
        except RuntimeError:
            raise ConfigError(f"[llm] model: {path} cannot be loaded; is it a whole GGUF file?") from None
        self._servers.append(server)
        return str(server.listening_address)

    async def _warm_up(self, address: str, key: str) -> None:
        """Let one slot read what all prompts begin with, then copy its state to the others: their first turns are as
        fast as any other."""
        prompt = (Message("system", INSTRUCTIONS), Message("user", "Hello."))
        async with aclosing(self.reply(LlmRequest(prompt, max_tokens=1))) as events:
            async for event in events:
                if isinstance(event, Completed):
                    self._start_tokens = event.input_tokens
        async with httpx.AsyncClient(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=SEED_SECONDS, trust_env=False
        ) as http:
            for slot in range(self._options.parallel):
                action = "save" if slot == 0 else "restore"
                done = await http.post(f"/slots/{slot}", params={"action": action}, json={"filename": "start"})
                if done.is_error:
                    logger.warning("the language model's slot %d is not warm (HTTP %d)", slot, done.status_code)

    def _with_examples(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        start = 1 if messages and messages[0].role == "system" else 0
        if self._examples and messages[start:] and messages[start].role == "assistant":  # or it would join an example
            messages = (*messages[:start], Message("user", OPENING), *messages[start:])
        return (*messages[:start], *self._examples, *messages[start:])


def _spoken(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Without tool calls and their results, which many chat templates have no place for."""
    return tuple(
        replace(message, tool_calls=()) if message.tool_calls else message
        for message in messages
        if message.role != "tool" and (message.content or not message.tool_calls)
    )


def _examples(options: EmbeddedLlmOptions) -> tuple[tuple[str, str], ...]:
    if options.examples is not None:
        return options.examples
    return EXAMPLES if options.model == DEFAULT_MODEL else ()


def _messages(examples: tuple[tuple[str, str], ...]) -> tuple[Message, ...]:
    return tuple(
        message for said, answer in examples for message in (Message("user", said), Message("assistant", answer))
    )


def _model_file(model: str, models: ModelStore) -> Path:
    if not model.endswith(".gguf"):
        files = sorted(models.path(model).glob("*.gguf"))
        if not files:
            raise ConfigError(f"[llm] model: {model} is no language model")
        return files[0]
    path = Path(model).expanduser()
    if not path.is_file():
        raise ConfigError(f"[llm] model: there is no file {path}")
    return path


def _cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
