"""Turns of a recording as data, in the shape that `draw.js` draws (docs/guides/desktop/page.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from voiceagent.recordings.lines import Json

STATUS = {"cancelled": "interrupted", "failed": "failed"}
"""Of a turn, by its reply's; `completed` for all others."""


@dataclass(slots=True)
class ReportTurn:
    """A turn while its lines are read. Times in milliseconds on the recording's axis; `marks` from `zero`."""

    zero: int
    item: str = ""
    reply: str = ""
    reply_item: str = ""
    status: str = "live"
    user: str = ""
    agent: str = ""
    heard: str | None = None
    marks: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    response_ms: int | None = None
    decisions: list[dict[str, Json]] = field(default_factory=list)
    ending: dict[str, Json] = field(default_factory=dict)
    """Why the user's words were taken to be over."""
    usage: dict[str, Json] | None = None
    error: str | None = None
    timed: bool = False
    stopped_ms: int | None = None
    """What the client says it played of the answer."""

    def mark(self, name: str, at: int) -> None:
        """As far as the lines themselves tell: the timeline knows better."""
        if not self.timed:
            self.marks.setdefault(name, at - self.zero)

    @property
    def until(self) -> int:
        """Where it ends."""
        return self.zero + max(self.marks.values(), default=0)

    def _client(self) -> dict[str, Json]:
        """What the user's side told: only how far it played, and that only where it was interrupted."""
        first, last = self.marks.get("first_audio"), self.marks.get("interrupted")
        if self.stopped_ms is None or first is None or last is None:
            return {}
        return {"last_played": min(last, first + self.stopped_ms)}

    def data(self, number: int) -> dict[str, Json]:
        cut = self.heard is not None and self.heard.strip() != self.agent.strip()
        ordered = sorted(self.decisions, key=lambda decision: number_of(decision, "at"))
        decisions: list[Json] = [{**decision, "at": number_of(decision, "at") - self.zero} for decision in ordered]
        return {
            "number": number,
            "at": self.zero,
            "status": self.status,
            "user": self.user,
            "agent": self.agent,
            "heard": self.heard if cut else None,
            "marks": dict(self.marks),
            "client": self._client(),
            "parts": dict(self.parts),
            "response_ms": self.response_ms,
            "decisions": decisions,
            "usage": self.usage,
            "error": self.error,
        }


@dataclass(slots=True)
class ReportSession:
    """All of a session. `about` is how it began, `end` why it ended (None while it goes on, or when the server
    died)."""

    about: dict[str, Json] = field(default_factory=dict)
    turns: list[ReportTurn] = field(default_factory=list)
    end: str | None = None
    cut_ms: int | None = None
    """From when on nothing was recorded."""
    last_ms: int = 0


Line = Mapping[str, object]


class RecordingReader:
    def __init__(self) -> None:
        self.talk = ReportSession()
        self._typed = ""
        """What was written and is not yet answered."""

    def read(self, lines: Iterable[Line]) -> ReportSession:
        for line in lines:
            at = number_of(line, "at")
            self.talk.last_ms = max(self.talk.last_ms, at)
            self._take(text_of(line, "type"), line, at)
        return self.talk

    def _take(self, kind: str, line: Line, at: int) -> None:
        talk = self.talk
        match kind:
            case "talk":
                talk.about = {key: text_of(line, key) for key in ("session", "protocol", "tenant", "date")}
            case "end":
                talk.end = text_of(line, "reason")
            case "cut":
                talk.cut_ms = at
            case "item":
                self._item(line)
            case "interruption":
                self._decision(self._answering, line, "barge_in", at)
            case "speculation":
                self._decision(talk.turns[-1] if talk.turns else None, line, "speculation", at)
            case "speech_started":
                turn = ReportTurn(at, item=text_of(line, "item"))
                turn.mark("onset", at)
                talk.turns.append(turn)
            case "reply_started":
                self._answers(text_of(line, "reply"), at)
            case _:
                self._of_turn(kind, line, at)

    # -- whose turn it is -------------------------------------------------------------------------------------------

    def _of(self, line: Line) -> ReportTurn | None:
        """The turn that a line is about."""
        reply, item = text_of(line, "reply"), text_of(line, "item")
        for turn in reversed(self.talk.turns):
            if (reply and turn.reply == reply) or (not reply and item and item in (turn.item, turn.reply_item)):
                return turn
        return None

    @property
    def _answering(self) -> ReportTurn | None:
        """Decisions on interruptions concern the answer that is given, even when the next turn has begun."""
        turns = self.talk.turns
        return next((turn for turn in reversed(turns) if turn.reply), turns[-1] if turns else None)

    def _answers(self, reply: str, at: int) -> None:
        """A second answer to the same words (after a tool was called, say) is a turn of its own."""
        turns = self.talk.turns
        if not turns or turns[-1].reply:
            turns.append(ReportTurn(at, user=self._typed))
        self._typed = ""
        turns[-1].reply = reply

    # -- what a line tells ------------------------------------------------------------------------------------------

    def _item(self, line: Line) -> None:
        turn, text = self._of(line), text_of(line, "text")
        if text_of(line, "role") == "user":
            if turn is None:
                self._typed = text
            else:
                turn.user = text
        elif turn is not None:
            turn.heard = text

    def _decision(self, turn: ReportTurn | None, line: Line, kind: str, at: int) -> None:
        if turn is None:
            return
        if kind == "speculation":
            action = "used" if line.get("used") else "wasted"
            turn.decisions.append({"kind": kind, "action": action, "tokens": number_of(line, "tokens"), "at": at})
        else:
            action, reason = text_of(line, "action"), text_of(line, "reason")
            turn.decisions.append({"kind": kind, "action": action, "reason": reason, "at": at})

    def _of_turn(self, kind: str, line: Line, at: int) -> None:
        turn = self._of(line)
        if turn is None:
            return
        match kind:
            case "speech_stopped":
                turn.mark("speech_end", at)
            case "committed":
                turn.mark("committed", at)
            case "turn_ended":
                turn.ending = {"cause": text_of(line, "cause"), "evidence": weights_of(line.get("evidence"))}
            case "transcribed":
                turn.mark("transcribed", at)
            case "transcript_failed":
                turn.error = text_of(line, "code")
            case "deleted":
                if text_of(line, "item") == turn.item:
                    turn.user = ""
                else:
                    turn.agent, turn.heard = "", None
            case "reply_item":
                turn.reply_item = text_of(line, "item")
            case "truncated":
                turn.stopped_ms = number_of(line, "audio_end_ms")
            case "reply_text":
                turn.mark("first_token", at)
                turn.agent += text_of(line, "text")
            case "reply_done":
                turn.mark("sent", at)
                turn.status = STATUS.get(text_of(line, "status"), "completed")
                turn.usage = usage_of(line.get("usage"))
                turn.error = text_of(line, "error") or turn.error
            case "reply_played":
                turn.mark("interrupted" if turn.status == "interrupted" else "heard", at)
            case "timeline":
                self._timed(turn, line)

    def _timed(self, turn: ReportTurn, line: Line) -> None:
        """The server's own account."""
        turn.zero, turn.timed = number_of(line, "from"), True
        turn.marks, turn.parts = numbers_of(line.get("marks")), numbers_of(line.get("parts"))
        response = line.get("response_ms")
        turn.response_ms = response if isinstance(response, int) else None
        marks = turn.marks
        if "interrupted" in marks and turn.status == "completed":
            turn.status = "interrupted"
        if "speech_end" in marks and "committed" in marks:
            silence = marks["committed"] - marks["speech_end"]
            at = turn.zero + marks["committed"]
            turn.decisions.append({"kind": "endpoint", "action": "end", "silence_ms": silence, "at": at, **turn.ending})
        if "paused" in marks:
            turn.decisions.append({"kind": "endpoint", "action": "pause", "at": turn.zero + marks["paused"]})


def read(lines: Iterable[Line]) -> ReportSession:
    """What the lines of a recording tell."""
    return RecordingReader().read(lines)


def text_of(line: Mapping[str, object], key: str) -> str:
    value = line.get(key)
    return value if isinstance(value, str) else ""


def number_of(line: Mapping[str, object], key: str) -> int:
    value = line.get(key)
    return value if isinstance(value, int) else 0


def numbers_of(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {str(key): number for key, number in value.items() if isinstance(number, int)}


def weights_of(value: object) -> dict[str, Json]:
    if not isinstance(value, dict):
        return {}
    return {str(key): weight for key, weight in value.items() if isinstance(weight, int | float)}


def usage_of(value: object) -> dict[str, Json] | None:
    if not isinstance(value, dict):
        return None
    return {str(key): part for key, part in value.items() if isinstance(part, int | float | str)}
