"""Page of a report: one HTML file with data, pictures and words inside; nothing is loaded from anywhere."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache

from voiceagent.assets import ASSETS
from voiceagent.recordings.lines import Json
from voiceagent.recordings.sound import SoundFile
from voiceagent.recordings.store import RecordingStore
from voiceagent.report.turns import ReportSession, ReportTurn, read

WEB = ASSETS / "web"
SCRIPTS = ("words.js", "report-words.js", "draw.js", "report.js")
STYLES = ("turns.css", "report.css")
AROUND_MS = 200
"""Sound that is drawn before and after a turn."""
STEP_MS = 20
MOST_STEPS = 1000
"""Peaks of one turn: more than its picture has points."""
OVERVIEW_STEPS = 1200
_MODULE = re.compile(r"^import .*?;\n|^export (?=function|const|class)", re.MULTILINE | re.DOTALL)


def render(store: RecordingStore, session: str, *, audio: bool = False) -> str | None:
    """The report of a recorded session, with its sound in it if that is wanted; None when there is no such recording.
    Blocking: it reads the whole recording."""
    lines = store.lines(session)
    if lines is None:
        return None
    try:
        talk = read(lines)
    except FileNotFoundError:  # deleted, or finished, in this very moment
        return None
    path = store.sound(session)
    if path is None:
        return html(talk, None, audio=False)
    try:
        with SoundFile(path) as sound:
            return html(talk, sound, audio=audio)
    except (FileNotFoundError, ValueError):  # deleted meanwhile, or broken
        return html(talk, None, audio=False)


def html(talk: ReportSession, sound: SoundFile | None, *, audio: bool) -> str:
    player = ""
    if audio and sound is not None:
        player = f'<audio controls src="data:audio/ogg;base64,{base64.b64encode(sound.opus()).decode()}"></audio>'
    common = frame()
    parts = {
        "policy": common.policy,
        "style": common.style,
        "script": common.script,
        "player": player,
        "data": safe(data(talk, sound)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda named: parts[named[1]], common.template)


def data(talk: ReportSession, sound: SoundFile | None) -> dict[str, Json]:
    """What the report shows, as JSON."""
    shown: list[Json] = []
    for number, turn in enumerate(talk.turns, 1):
        one = turn.data(number)
        if sound is not None:
            one["waves"] = waves(turn, sound)
        shown.append(one)
    length = max(talk.last_ms, round(sound.seconds * 1000) if sound is not None else 0)
    return {
        **talk.about,
        "end": talk.end,
        "cut_ms": talk.cut_ms,
        "length_ms": length,
        "turns": shown,
        "waves": overview(sound) if sound is not None else None,
    }


def waves(turn: ReportTurn, sound: SoundFile) -> dict[str, Json]:
    """Both voices around a turn, from its zero."""
    length = turn.until - turn.zero + 2 * AROUND_MS
    step = STEP_MS * max(1, -(-length // (STEP_MS * MOST_STEPS)))
    user, agent = sound.peaks(turn.zero - AROUND_MS, -(-length // step), step)
    return {"step": step, "from": -AROUND_MS, "user": list(user), "agent": list(agent)}


def overview(sound: SoundFile) -> dict[str, Json]:
    """Both voices of the whole session."""
    length = round(sound.seconds * 1000)
    step = STEP_MS * max(1, -(-length // (STEP_MS * OVERVIEW_STEPS)))
    user, agent = sound.peaks(0, -(-length // step), step)
    return {"step": step, "from": 0, "user": list(user), "agent": list(agent)}


def safe(value: Json) -> str:
    """JSON that can stand in a script element: nothing in it can end that."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


@dataclass(frozen=True, slots=True)
class Frame:
    """What all reports have in common. `policy` is their Content-Security-Policy: only this very script may run, and
    nothing may be loaded."""

    template: str
    style: str
    script: str
    policy: str


@cache
def frame() -> Frame:
    """Out of the page's own files."""
    style = "\n".join((WEB / name).read_text("utf-8") for name in STYLES)
    script = "\n".join(_MODULE.sub("", (WEB / name).read_text("utf-8")) for name in SCRIPTS)
    script_hash, style_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)
    )
    policy = (
        f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Frame((WEB / "report.html").read_text("utf-8"), style, script, policy)
