"""Options of a session: how it is to be held, as the protocol fills them in from what its client asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from voiceagent.llm.base import Effort, ToolChoice, ToolSpec
from voiceagent.tools.mcp.client import ClientServer
from voiceagent.turn.options import TurnOptions

Modality = Literal["audio", "text"]


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """`turn` None means the client commits its audio and asks for responses by hand. `voice` and `language` None mean
    the engine's own; `max_output_tokens` None means no limit of the client's; `output_rate` is in Hz.

    `tools` are the client's own: it is told of their calls and sends the results. `variables` fill the `{{names}}` in
    the instructions. `servers` are those whose tools are run for the client; None where it may name none. `user` names
    whose memory the session has, where that is known only once it has begun. `lead_ms` and `frame_ms` None mean those
    of the settings. After `idle_timeout_ms` of silence following a response the agent speaks up. With `listen_only`
    nothing is ever answered: the session only transcribes."""

    instructions: str = ""
    modality: Modality = "audio"
    voice: str | None = None
    speed: float = 1.0
    language: str | None = None
    asr_prompt: str | None = None
    transcribe: bool = False
    output_rate: int = 24_000
    max_output_tokens: int | None = None
    turn: TurnOptions | None = field(default_factory=TurnOptions)
    tools: tuple[ToolSpec, ...] = ()
    servers: tuple[ClientServer, ...] | None = None
    tool_choice: ToolChoice = "auto"
    parallel_tools: bool = True
    effort: Effort | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    lead_ms: int | None = None
    frame_ms: int | None = None
    idle_timeout_ms: int | None = None
    listen_only: bool = False
