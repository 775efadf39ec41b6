"""Plays scenarios one after the other and draws up the report."""

from collections.abc import Callable, Sequence
from pathlib import Path

from voiceagent_client.endpoint import Endpoint
from voiceagent_client.errors import ClientError

from voiceagent.asr.base import AsrEngine
from voiceagent.errors import ConfigError, EngineError
from voiceagent.evaluation import truth, usage
from voiceagent.evaluation.measure import measure
from voiceagent.evaluation.play import play
from voiceagent.evaluation.report import EvaluationReport, Run
from voiceagent.evaluation.stage import Staged
from voiceagent.evaluation.summary import shortcomings


async def run(
    staged: Sequence[Staged],
    url: str,
    *,
    key: str | None = None,
    repeat: int = 1,
    keep_audio: Path | None = None,
    listener: AsrEngine | None = None,
    on_run: Callable[[Run], None] = lambda run: None,
) -> EvaluationReport:
    """Each scenario `repeat` times.

    `keep_audio` is an existing folder for stereo recordings. `listener`, an open recogniser, judges what was heard;
    without it the default one is loaded. `on_run` is told of each talk when it is over. Raises ClientError when the url
    or the key cannot be used.
    """
    name = Endpoint.of(url, key, {}).name
    before = await usage.counts(url)
    runs: list[Run] = []
    for number in range(1, repeat + 1):
        for scenario in staged:
            out = None if keep_audio is None else keep_audio / f"{scenario.scenario.name}-{number}.wav"
            runs.append(await _play(scenario, url, key, out))
            on_run(runs[-1])
    speculation = usage.speculation(before, await usage.counts(url))
    notes = [] if speculation is not None else ["speculation: the server has no voiceagent metrics"]
    notes += await _compare_heard(runs, listener)
    expectations = {scenario.scenario.name: scenario.scenario.turns for scenario in staged}
    for played in runs:
        turns = expectations[played.scenario]
        played.shortcomings = [
            shortcomings(result, turn.expect) for result, turn in zip(played.turns, turns, strict=False)
        ]
    return EvaluationReport(name, runs, speculation, notes)


async def _play(staged: Staged, url: str, key: str | None, out: Path | None) -> Run:
    """A talk that breaks is a failure of this scenario alone."""
    scenario = staged.scenario
    try:
        record = await play(staged, url, key, out)
    except ClientError as error:
        return Run(scenario.name, failure=str(error))
    return Run(
        scenario.name,
        measure(record, scenario.microphone),
        failure="; ".join(dict.fromkeys(record.errors)) or None,
    )


async def _compare_heard(runs: Sequence[Run], listener: AsrEngine | None) -> list[str]:
    """Only now, so that the recogniser takes no time from the talks. Returns why it cannot be done."""
    results = [turn for played in runs for turn in played.turns]
    if not any(turn.heard for turn in results):
        return []
    try:
        async with truth.recogniser(listener) as recognise:
            await truth.compare_heard(results, recognise)
    except (ConfigError, EngineError) as error:
        return [f"heard text: {error}"]
    return []
