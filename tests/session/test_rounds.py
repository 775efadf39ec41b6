"""Rounds of tools, in virtual time: a chain of calls ends by itself, by a command and by the user's voice."""

import pytest

from tests.support.session.bench import Answer, bench
from tests.support.session.tools import PlainTool, box, call
from voiceagent.errors import Refused
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.settings import Settings
from voiceagent.tools.settings import ToolsSection

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

ALWAYS = Answer("", calls=(call("a"),))


def rounds(number: int) -> Settings:
    return Settings(tools=ToolsSection(rounds=number))


@pytest.mark.parametrize("name", ["a", "unknown"])
@pytest.mark.parametrize("number", [1, 3, 30])
async def test_a_model_that_always_calls_comes_to_an_end(number: int, name: str) -> None:
    tool = PlainTool("a")
    answers = Answer("", first=0.01, calls=(call(name),))
    async with bench(answers, toolbox=box(tool), settings=rounds(number)) as client:
        await client.turn()
        done = await client.until(ev.ResponseDone, number + 1)
        assert len(tool.calls) == (number if name == "a" else 0)
        assert (done.status, done.error_code, done.calls) == ("failed", "llm_empty", ())
        assert len(client.audio(number))  # the apology
        assert [bool(request.tools) for request in client.model.requests] == [*[True] * number, False, False]
        await client.until(ev.ResponsePlayed, number + 1)
        assert len(client.of(ev.ResponseStarted)) == number + 1


async def test_words_along_with_calls_in_the_last_round_are_said() -> None:
    answers = ALWAYS, Answer("So much I know.", calls=(call("a"),))
    async with bench(*answers, toolbox=box(tool := PlainTool("a")), settings=rounds(1)) as client:
        await client.turn()
        done = await client.until(ev.ResponseDone, 2)
        assert (done.status, client.text(1).strip(), len(tool.calls)) == ("completed", "So much I know.", 1)


@pytest.mark.parametrize("moment", [0.1, 0.3, 0.75, 1.1])
async def test_a_cancel_ends_the_chain(moment: float) -> None:
    """Whether the model is being asked or the tool runs."""
    tool = PlainTool("a", seconds=0.3)
    async with bench(ALWAYS, toolbox=box(tool), settings=rounds(1000), microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.pause(moment)
        client.ask(cmd.CancelResponse())
        asked = len(client.model.requests)
        await client.pause(5.0)
        assert len(client.model.requests) == asked
        assert not client.session.busy
        with pytest.raises(Refused):
            client.ask(cmd.CancelResponse())


async def test_the_users_voice_ends_the_chain() -> None:
    async with bench(ALWAYS, toolbox=box(PlainTool("a", seconds=0.1)), settings=rounds(1000)) as client:
        await client.turn()
        await client.until(ev.ResponseDone, 4)
        await client.say(2.0)
        asked = len(client.model.requests)
        await client.until(ev.SpeechStarted, 2)
        started = client.times[client.events.index(client.of(ev.SpeechStarted)[1])]
        assert client.times[-1] - started < 2.0
        later = [at for at, event in zip(client.times, client.events, strict=True) if isinstance(event, ev.ToolCalled)]
        assert max(later) <= started
        assert asked < 20
