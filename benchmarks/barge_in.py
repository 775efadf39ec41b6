"""Who takes the floor from a talking agent, and who does not: `python -m benchmarks.barge_in [--json FILE]`.

Recorded clips are played, as fast as they can be, to the real detector and recogniser while an agent talks all the
time; the decision of `voiceagent.turn.barge_in` is applied to a client that plays with a lead. The recogniser's words
are given 100 ms after they were asked for. A plain gate on the same probabilities stands beside it: it interrupts after
so many milliseconds of voice.

Speakers fall into two halves by name. Neither is untouched: the rules were made with all clips in view and both halves
were printed while settings were tried, so the halves show how much chance there is, not how it will do on new speakers.
One clip is 5 % of some halves; the exit code is that of all clips together, and the table marks what a half misses.

Where no label says when the user began (echo_residual_doubletalk, the spoken phrases), the time to the stop is counted
from the detector's own onset and marked "~": it says little, since a pause comes two windows after that by design. The
spoken phrases are one synthetic voice in five pitches saying what is in the lexicon: a check of the chain, not a
measure of people.

What is heard in a room with the reference is played as if the pauses did not exist: the echo goes on through them,
which makes it harder than life.
"""

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.barge_in_clips import Clip, Engines, cache_folder, in_a_room, recorded, speech_folder, spoken
from benchmarks.intervals import wilson
from voiceagent.asr.sherpa import SherpaAsr
from voiceagent.audio.pcm import EAR_RATE
from voiceagent.models.store import ModelStore
from voiceagent.turn.barge_in import BargeInAction, BargeInDetector, BargeInStep, WordsRequest
from voiceagent.turn.options import BargeInSettings, Phase
from voiceagent.vad.base import WINDOW
from voiceagent.vad.segmenter import Segmenter, VoicePaused, VoiceStarted
from voiceagent.vad.silero import SileroVad

YIELD = {"command": 0.98, "echo_residual_doubletalk": 0.95}
CONTINUE = {"backchannel": 0.85, "noise": 0.98, "echo_residual_farend": 0.97}
"""Targets: the share of clips that stop the agent, or leave it talking."""
OTHERS_YIELD = ("turn", "spoken_command", "room_doubletalk")
OTHERS_CONTINUE = ("spoken_backchannel", "room_echo")
KINDS = (*YIELD, *CONTINUE, "turn")

STOP_MS = 400
LEAD = 240 * EAR_RATE // 1000
"""What the client has ahead of what it plays."""
PREFIX = 300 * EAR_RATE // 1000
"""Audio before the onset that the recogniser is given."""
ASR_WINDOWS = math.ceil(100 / 32)
"""100 ms until the words are there."""
GATES_MS = (160, 500)
LONG_VOICE = EAR_RATE // 2
"""Where nobody labelled the onset, it is that of the first voice so long."""


@dataclass(slots=True)
class Outcome:
    """What one clip did. Milliseconds; `stop_ms` from the user's onset to the last audible sample, None if it was not
    stopped; `pauses_ms` of the pauses that ended in going on, `gaps_ms` of the silence heard of each."""

    clip: str
    kind: str
    half: str
    labelled: bool = True
    """Whether the manifest says when the user began."""
    stop_ms: float | None = None
    confirm_ms: float | None = None
    reason: str = ""
    asked: int = 0
    pauses_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    gates: dict[int, bool] = field(default_factory=dict)

    @property
    def yielded(self) -> bool:
        return self.stop_ms is not None


async def play(clip: Clip, engines: Engines, settings: BargeInSettings, phase: Phase) -> Outcome:
    """Let the agent talk while the clip is heard."""
    probabilities = await engines.probabilities(clip)
    onset = clip.onset if clip.onset is not None else first_long_voice(probabilities)
    judge, segmenter = BargeInDetector(settings), Segmenter()
    outcome = Outcome(
        clip.name, clip.kind, clip.half, clip.onset is not None, gates={ms: gate(probabilities, ms) for ms in GATES_MS}
    )
    paused: int | None = None
    answers: dict[int, tuple[str, bool]] = {}
    for index, probability in enumerate(probabilities):
        now = (index + 1) * WINDOW
        steps: list[BargeInStep] = []
        if index in answers:
            text, final = answers.pop(index)
            steps.append(judge.words(text, final=final, spoken=clip.text))
        played = None if clip.played is None else clip.played[now - WINDOW : now]
        window = segmenter.hear(float(probability), clip.pcm[now - WINDOW : now])
        steps.append(judge.hear(window, phase, played))
        for step in steps:
            match step.action:
                case BargeInAction.PAUSE:
                    paused = now
                case BargeInAction.RESUME if paused is not None:
                    outcome.pauses_ms.append(milliseconds(now - paused))
                    outcome.gaps_ms.append(milliseconds(max(0, now - paused - LEAD)))
                    outcome.resumed.append(step.reason.value if step.reason else "")
                    paused = None
                case BargeInAction.CONFIRM:
                    last = now if paused is None else min(now, paused + LEAD)
                    start = onset if onset is not None else judge.onset
                    outcome.stop_ms = milliseconds(last - start)
                    outcome.confirm_ms = milliseconds(now - start)
                    outcome.reason = step.reason.value if step.reason else ""
                    return outcome
            if step.ask is not WordsRequest.NOTHING:
                outcome.asked += 1
                text = await engines.text(clip.pcm[max(0, judge.onset - PREFIX) : now])
                answers[index + ASR_WINDOWS] = text, step.ask is WordsRequest.FINAL
    return outcome


def milliseconds(samples: int) -> float:
    return samples * 1000 / EAR_RATE


def first_long_voice(probabilities: npt.NDArray[np.float64]) -> int | None:
    segmenter, onset = Segmenter(), None
    for probability in probabilities:
        match segmenter.push(float(probability)):
            case VoiceStarted(sample):
                onset = sample
            case VoicePaused():
                onset = None
        if onset is not None and segmenter.sample - onset >= LONG_VOICE:
            return onset
    return None


def gate(probabilities: npt.NDArray[np.float64], voice_ms: int) -> bool:
    """Whether a voice of that length is found, as a plain gate on the detector takes it."""
    segmenter = Segmenter()
    for probability in probabilities:
        segmenter.push(float(probability))
        if segmenter.speaking and milliseconds(segmenter.speech_samples) >= voice_ms:
            return True
    return False


# -- the table ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of clip in one half. `share` is of those that did as they should, with its 95 % interval (Wilson)."""

    kind: str
    half: str
    n: int
    expected: str
    share: float
    low: float
    high: float
    target: float | None
    labelled: bool
    gates: dict[int, float]
    stop_p50_ms: float | None
    stop_p95_ms: float | None
    confirm_p50_ms: float | None
    paused_clips: int
    pauses: int
    pause_p50_ms: float | None
    pause_p95_ms: float | None
    gap_p50_ms: float | None
    asked_per_clip: float

    @property
    def met(self) -> bool:
        late = self.expected == "yield" and self.stop_p95_ms is not None and self.stop_p95_ms > STOP_MS
        return self.target is None or (self.share >= self.target and not late)


def row(kind: str, half: str, outcomes: list[Outcome]) -> Row:
    yields = kind in YIELD or kind in OTHERS_YIELD
    right = sum(outcome.yielded == yields for outcome in outcomes)
    low, high = wilson(right, len(outcomes))
    stops = [outcome.stop_ms for outcome in outcomes if outcome.stop_ms is not None] if yields else []
    confirms = [outcome.confirm_ms for outcome in outcomes if outcome.confirm_ms is not None] if yields else []
    pauses = [ms for outcome in outcomes for ms in outcome.pauses_ms]
    gaps = [ms for outcome in outcomes for ms in outcome.gaps_ms]
    return Row(
        kind=kind,
        half=half,
        n=len(outcomes),
        expected="yield" if yields else "continue",
        share=right / len(outcomes),
        low=low,
        high=high,
        target=(YIELD | CONTINUE).get(kind),
        labelled=any(outcome.labelled for outcome in outcomes),
        gates={ms: sum(o.gates[ms] == yields for o in outcomes) / len(outcomes) for ms in GATES_MS},
        stop_p50_ms=percentile(stops, 50),
        stop_p95_ms=percentile(stops, 95),
        confirm_p50_ms=percentile(confirms, 50),
        paused_clips=sum(bool(outcome.pauses_ms) for outcome in outcomes),
        pauses=len(pauses),
        pause_p50_ms=percentile(pauses, 50),
        pause_p95_ms=percentile(pauses, 95),
        gap_p50_ms=percentile(gaps, 50),
        asked_per_clip=sum(outcome.asked for outcome in outcomes) / len(outcomes),
    )


def percentile(values: Sequence[float], q: float) -> float | None:
    return round(float(np.percentile(values, q)), 1) if values else None


def table(rows: Sequence[Row]) -> str:
    head = f"{'clips':24} {'half':6} {'n':>4} {'as expected':24} {'target':>6} " + " ".join(
        f"{f'gate {ms}':>8}" for ms in GATES_MS
    )
    lines = [
        head + f" {'stop p50/p95':>13} {'sure p50':>8} {'paused':>7} {'pause p50/p95':>13} {'gap p50':>7} {'asked':>5}"
    ]
    for r in rows:
        share = f"{r.expected:8} {r.share:6.1%} [{r.low:4.0%}-{r.high:4.0%}]"
        target = "" if r.target is None else f"{r.target:.0%}" + ("" if r.met else " !")
        stops = ("" if r.labelled or r.stop_p50_ms is None else "~") + pair(r.stop_p50_ms, r.stop_p95_ms)
        gates = " ".join(f"{r.gates[ms]:8.1%}" for ms in GATES_MS)
        lines.append(
            f"{r.kind:24} {r.half:6} {r.n:4} {share:24} {target:>6} {gates} {stops:>13} "
            f"{number(r.confirm_p50_ms):>8} {r.paused_clips:7} {pair(r.pause_p50_ms, r.pause_p95_ms):>13} "
            f"{number(r.gap_p50_ms):>7} {r.asked_per_clip:5.1f}"
        )
    return "\n".join(lines)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def pair(one: float | None, other: float | None) -> str:
    return f"{number(one)}/{number(other)}"


# -- running ------------------------------------------------------------------------------------------------------


async def run(folder: Path, settings: BargeInSettings, phase: Phase) -> tuple[list[Outcome], int]:
    models = ModelStore()
    engines = Engines(SileroVad(SileroVad.Options(), models), SherpaAsr(SherpaAsr.Options(), models), cache_folder())
    clips, silent = recorded(folder, KINDS)
    await engines.open()
    try:
        return [await play(clip, engines, settings, phase) for clip in [*clips, *spoken(), *in_a_room(folder)]], silent
    finally:
        await engines.close()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.barge_in", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows and outcomes there")
    parser.add_argument("--wrong", action="store_true", help="list the clips that did not do as they should")
    phases = ("thinking", "first_words", "speaking", "last_words")
    parser.add_argument("--phase", choices=phases, default="speaking", help="what the agent is doing all the time")
    options = parser.parse_args(argv)
    folder = speech_folder()
    if folder is None:
        print("skipped: no recordings; set VOICEAGENT_SPEECH to the folder that holds their manifest.jsonl")
        return 0
    outcomes, silent = asyncio.run(run(folder, BargeInSettings(), Phase[options.phase.upper()]))
    rows = [
        row(kind, half, chosen)
        for kind in (*YIELD, *OTHERS_YIELD, *CONTINUE, *OTHERS_CONTINUE)
        for half in ("tune", "report", "all")
        if (chosen := [o for o in outcomes if o.kind == kind and half in (o.half, "all")])
    ]
    print(table(rows))
    if silent:
        print(f"{silent} clips left out: their files hold only digital silence")
    if unmeasured := [kind for kind in YIELD | CONTINUE if all(r.kind != kind for r in rows)]:
        print(f"target not measured, there are no such clips: {', '.join(unmeasured)}")
    if options.wrong:
        for outcome in outcomes:
            if outcome.yielded != (outcome.kind in YIELD or outcome.kind in OTHERS_YIELD):
                print(f"{outcome.kind:24} {outcome.clip:34} {outcome.reason} {outcome.resumed}")
    if options.json:
        report = {"rows": [asdict(r) for r in rows], "clips": [asdict(o) for o in outcomes], "silent": silent}
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False), "utf-8")
    return 0 if all(r.met for r in rows if r.half == "all") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
