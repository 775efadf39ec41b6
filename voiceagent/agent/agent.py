"""Agent: who answers, with what it may call, and the engines that it hears, thinks and speaks with.

agent = Agent(instructions="You answer for a bakery.", tools=[opening_hours], voice="heart")
agent.serve(port=8000)
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

from pydantic import ValidationError

from voiceagent import settings as configuration
from voiceagent.agent.app import AgentApp
from voiceagent.agent.chat import AgentChat, open_chat
from voiceagent.asr.base import AsrEngine
from voiceagent.engines import EngineStage
from voiceagent.llm.base import LlmEngine
from voiceagent.problems import InvalidConfig, problems_of
from voiceagent.section import EngineSection
from voiceagent.server.app import VoiceServer
from voiceagent.server.resources import make_engines, make_llm
from voiceagent.settings import Settings
from voiceagent.tools.base import Tool, ToolSource
from voiceagent.tools.build import make_sources
from voiceagent.tools.functions import FunctionSource
from voiceagent.tools.toolbox import Toolbox
from voiceagent.tts.base import TtsEngine
from voiceagent.vad.base import VadEngine

ToolLike = Callable[..., object] | Tool | ToolSource
"""What `tools` may hold: a function, marked with `@tool` or not, a tool of one's own, or a source of several."""
EngineTable = str | Mapping[str, object]
"""An engine by its name (`openai`, `package.module:Class`), or its whole table with `engine` and options."""

Engine = TypeVar("Engine", VadEngine, AsrEngine, LlmEngine, TtsEngine)


class Agent:
    """An agent, before anything of it is loaded. The same one can be served, mounted and chatted with.

    What is given here wins over the environment, the environment over `settings`.
    """

    def __init__(
        self,
        instructions: str | None = None,
        *,
        tools: Sequence[ToolLike] = (),
        voice: str | None = None,
        language: str | None = None,
        llm: EngineTable | LlmEngine | None = None,
        asr: EngineTable | AsrEngine | None = None,
        tts: EngineTable | TtsEngine | None = None,
        vad: EngineTable | VadEngine | None = None,
        settings: Path | str | Mapping[str, object] | Settings | None = None,
    ) -> None:
        """`instructions` are the system prompt, `voice` is a name that the voice engine knows, `language` a BCP 47 tag.

        `tools` come beside those that are configured. `llm`, `asr`, `tts` and `vad` are an engine's name, its table or
        an engine itself; what is left out is as configured. `settings` is the path of a TOML file, or its content as
        nested mappings. It is read when the agent is first used, not here.

        Raises ConfigError for a function that cannot be told to a model.
        """
        self._instructions = instructions
        self._voice = voice
        self._language = language
        self._tables: dict[EngineStage, EngineTable] = {}
        self._vad = self._given("vad", vad)
        self._asr = self._given("asr", asr)
        self._llm = self._given("llm", llm)
        self._tts = self._given("tts", tts)
        self._settings = settings
        self._tools = tuple(tools)
        self._sources()

    def settings(self) -> Settings:
        """The whole configuration of this agent, read now. Raises ConfigError."""
        match self._settings:
            case Settings() as loaded:
                pass
            case None:
                loaded = configuration.load()
            case str() | Path() as path:
                loaded = configuration.load(Path(path))
            case table:
                loaded = configuration.of_table(table)
        agent = {"instructions": self._instructions, "voice": self._voice, "language": self._language}
        given = {key: value for key, value in agent.items() if value is not None}
        changes: dict[str, object] = {"agent": loaded.agent.model_copy(update=given)} if given else {}
        for stage, table in self._tables.items():
            before = loaded.llm_section if stage == "llm" else cast(EngineSection, getattr(loaded, stage))
            changes[stage] = _section(stage, type(before), table)
        return loaded.model_copy(update=changes)

    def server(self, settings: Settings | None = None) -> VoiceServer:
        """A server of this agent's, with nothing loaded yet; `settings` in place of its own. Raises ConfigError."""
        loaded = settings or self.settings()
        engines = make_engines(loaded, vad=self._vad, asr=self._asr, llm=self._llm, tts=self._tts)
        return VoiceServer(loaded, engines, self._toolbox(loaded))

    @cached_property
    def app(self) -> AgentApp:
        """The ASGI application: every channel and page of the server, wherever it is mounted. Raises ConfigError."""
        return AgentApp(self.server)

    def lifespan(self, app: object = None) -> AbstractAsyncContextManager[None]:
        """What an application that mounts `app` has to hold while it runs, as its `lifespan` or within it: it loads the
        engines at the start and closes them at the end."""
        return self.app.running()

    def serve(self, host: str | None = None, port: int | None = None, *, open_page: bool = False) -> None:
        """Serve until SIGTERM or Ctrl-C; then let sessions finish. Blocks; `open_page` opens the page in the browser.

        `host` and `port` win over the configured ones. Raises ConfigError, EngineError.
        """
        from voiceagent.agent.running import run

        run(self, host=host, port=port, open_page=open_page)

    @asynccontextmanager
    async def chat(self, *, user: str = "", variables: Mapping[str, str] | None = None) -> AsyncIterator[AgentChat]:
        """A conversation in writing, for tests and the terminal: only the language model, the tools and the memory are
        loaded. `user` names whose memory it has; `variables` fill `{{names}}` in the instructions.

        Raises ConfigError, EngineError.
        """
        loaded = self.settings()
        llm = self._llm or make_llm(loaded)
        async with open_chat(loaded, llm, self._toolbox(loaded), user=user, variables=variables) as chat:
            yield chat

    def given(self) -> Mapping[EngineStage, object]:
        """The engines that were handed over, by stage."""
        engines = {"vad": self._vad, "asr": self._asr, "llm": self._llm, "tts": self._tts}
        return {cast(EngineStage, stage): engine for stage, engine in engines.items() if engine is not None}

    def _given(self, stage: EngineStage, engine: EngineTable | Engine | None) -> Engine | None:
        """The engine that was handed over, if it is one; the name or table of one is kept for the settings."""
        if engine is None:
            return None
        if isinstance(engine, str | Mapping):
            self._tables[stage] = engine
            return None
        return engine

    def _sources(self, threads: int = 8) -> list[ToolSource]:
        """What `tools` comes to. Raises ConfigError."""
        sources = [one for one in self._tools if _is_source(one)]
        others = [one for one in self._tools if not _is_source(one)]
        functions = [FunctionSource(cast(list[Callable[..., object] | Tool], others), threads)] if others else []
        return [*functions, *cast(list[ToolSource], sources)]

    def _toolbox(self, settings: Settings) -> Toolbox:
        return Toolbox((*self._sources(settings.tools.threads), *make_sources(settings.tools)))


def _is_source(one: ToolLike) -> bool:
    return callable(getattr(one, "tools", None)) and callable(getattr(one, "open", None))


def _section(stage: EngineStage, kind: type[EngineSection], table: EngineTable) -> EngineSection:
    """The table of an engine. Raises ConfigError."""
    try:
        return kind.model_validate({"engine": table} if isinstance(table, str) else dict(table))
    except ValidationError as error:
        raise InvalidConfig([f"{stage}=: {line}" for line in problems_of(error, kind)]) from None


def create_app(agent: Agent | None = None) -> AgentApp:
    """The ASGI application of an agent, or of the one that the environment configures. Raises ConfigError."""
    return (agent or Agent()).app


def serve(agent: Agent | None = None, *, host: str | None = None, port: int | None = None) -> None:
    """Serve an agent, or the one that the environment configures, as `Agent.serve` does."""
    (agent or Agent()).serve(host, port)
