"""Both sides of a conversation in words."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from voiceagent_client.happenings import AgentText, UserText
from voiceagent_client.wire import ServerEvent

Role = Literal["user", "agent"]

KEPT_LINES = 1000
"""Turns kept; of a longer conversation the first are forgotten."""


@dataclass(frozen=True, slots=True)
class Line:
    """One turn. `heard_ms` is set when the agent was interrupted: so much of its audio was heard, which is
    `heard_share` (0 to 1) of what had arrived by then."""

    role: Role
    item_id: str
    text: str = ""
    final: bool = False
    heard_ms: int | None = None
    heard_share: float = 1.0

    @property
    def heard(self) -> str:
        """The words that were heard. Of an interrupted turn an estimate by its length, to the end of the last whole
        word (in writing without spaces, of the last character)."""
        if self.heard_ms is None:
            return self.text
        kept = self.text[: int(len(self.text) * self.heard_share)]
        after = self.text[len(kept) : len(kept) + 1]
        inside = kept[-1:].isalpha() and after.isalpha() and after.isascii()
        return (kept[: kept.rfind(" ") + 1] if inside else kept).rstrip()


class Transcript:
    """Turns in the order in which the server began them: the user's words often arrive after the answer to them
    began."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        """`lines` are those of the conversation so far."""
        self._lines = {line.item_id: line for line in lines}

    @property
    def lines(self) -> tuple[Line, ...]:
        """Turns that have words."""
        return tuple(line for line in self._lines.values() if line.text)

    def take(self, event: ServerEvent) -> UserText | AgentText | None:
        """What the server wrote, as words to show; None for events without."""
        match event.type:
            case "conversation.item.added":
                self._item_added(event)
                return None
            case "conversation.item.input_audio_transcription.delta":
                line = self._extend(event, "user")
            case "voiceagent.transcript.partial":  # a guess that may differ from the one before
                line = self._put(replace(self._line(event.text("item_id"), "user"), text=event.text("text")))
            case "conversation.item.input_audio_transcription.completed":
                line = self._finish(event.text("item_id"), "user", event.text("transcript"))
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                line = self._extend(event, "agent")
            case "response.output_audio_transcript.done":
                line = self._finish(event.text("item_id"), "agent", event.text("transcript"))
            case "response.output_text.done":
                line = self._finish(event.text("item_id"), "agent", event.text("text"))
            case _:
                return None
        words = UserText if line.role == "user" else AgentText
        return words(line.item_id, "" if line.final else event.text("delta"), line.text, line.final)

    def cut(self, item_id: str, heard_ms: int, arrived_ms: int) -> None:
        """The agent was interrupted in this turn."""
        share = heard_ms / arrived_ms if arrived_ms else 0.0
        self._put(replace(self._line(item_id, "agent"), heard_ms=heard_ms, heard_share=share))

    def _item_added(self, event: ServerEvent) -> None:
        item_id, role = event.text("item", "id"), event.text("item", "role")
        if role == "assistant":
            self._line(item_id, "agent")
        elif role == "user":
            typed = [text for part in event.objects("item", "content") if isinstance(text := part.get("text"), str)]
            self._put(replace(self._line(item_id, "user"), text="".join(typed), final=bool(typed)))

    def _extend(self, event: ServerEvent, role: Role) -> Line:
        line = self._line(event.text("item_id"), role)
        return self._put(replace(line, text=line.text + event.text("delta")))

    def _finish(self, item_id: str, role: Role, text: str) -> Line:
        """Without a whole text the deltas' stands."""
        line = self._line(item_id, role)
        return self._put(replace(line, text=text or line.text, final=True))

    def _line(self, item_id: str, role: Role) -> Line:
        if item_id not in self._lines:
            if len(self._lines) >= KEPT_LINES:
                del self._lines[next(iter(self._lines))]
            self._lines[item_id] = Line(role, item_id)
        return self._lines[item_id]

    def _put(self, line: Line) -> Line:
        self._lines[line.item_id] = line
        return line
