"""Clients that do anything at any moment, in virtual time: whatever it was, the talk keeps its promises."""

import asyncio
import contextlib
import random

import numpy as np
import pytest

from tests.session.test_tools import legal
from tests.support.session.bench import DEADLINE, RATE, Answer, Bench, LoudnessVad, WordsAsr, bench
from tests.support.session.tools import PlainTool, box, call
from voiceagent.errors import EngineError, Refused
from voiceagent.llm.base import Completed, ToolSpec
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import FunctionOutput, Item, Part
from voiceagent.session.options import SessionOptions
from voiceagent.session.settings import FillerSection
from voiceagent.settings import Settings
from voiceagent.tools.base import ToolPolicy
from voiceagent.tools.toolbox import Toolbox
from voiceagent.turn.options import TurnOptions

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

STEPS = 60
NAMES = ("quick", "slow", "kept", "asks", "breaks", "hangs", "theirs", "nobody")


def any_options(dice: random.Random) -> SessionOptions:
    turn = TurnOptions(
        silence_ms=dice.choice([None, 200, 800]),
        create_response=dice.random() < 0.8,
        interrupt_response=dice.random() < 0.8,
    )
    return SessionOptions(
        instructions=f"Version {dice.random()}.",
        modality="text" if dice.random() < 0.1 else "audio",
        turn=turn if dice.random() < 0.8 else None,
        tools=(ToolSpec("theirs"),) if dice.random() < 0.5 else (),
        lead_ms=dice.choice([None, 100, 1000]),
    )


def any_command(dice: random.Random, client: Bench, number: int) -> cmd.Command:
    items = [event.item.id for event in client.of(ev.ItemAdded)] + [
        event.item.id for event in client.of(ev.ResponseItemAdded)
    ]
    item_id = dice.choice([*items, "nobody"])
    item = Item(dice.choice([f"own_{number}", item_id]), "user", (Part("text", "Typed."),))
    commands: list[cmd.Command] = [
        cmd.CreateResponse(),
        cmd.CreateResponse(store=False, input=(Item("", "user", (Part("text", "Aside."),)),)),
        cmd.CreateResponse(modality="text"),
        cmd.CancelResponse(),
        cmd.CancelResponse("resp_x"),
        cmd.CommitAudio(),
        cmd.ClearAudio(),
        cmd.CreateItem(item, dice.choice([None, None, "root", item_id])),
        cmd.DeleteItem(item_id),
        cmd.RetrieveItem(item_id),
        cmd.TruncateItem(item_id, dice.choice([0, 700, 10**9])),
        cmd.ReportPlayed(item_id, dice.choice([0, 700, 10**9])),
        cmd.CreateResponse(words="Set words. And more of them.", protected=dice.random() < 0.5),
        cmd.CreateResponse(tools=(ToolSpec("own"),), tool_choice="required"),
        cmd.CreateItem(FunctionOutput(f"out_{number}", dice.choice(["c", "nobody"]), "result")),
        cmd.Interrupt(),
        cmd.Configure(any_options(dice)),
    ]
    return dice.choice(commands)


def any_tools(dice: random.Random) -> Toolbox:
    return box(
        PlainTool("quick"),
        PlainTool("slow", seconds=dice.choice([1.0, 4.0])),
        PlainTool("kept", seconds=3.0, policy=ToolPolicy(on_interrupt="keep", filler_ms=100)),
        PlainTool("asks", policy=ToolPolicy(confirm=True)),
        PlainTool("breaks", ValueError("no")),
        PlainTool("hangs", seconds=1000.0, policy=ToolPolicy(deadline_seconds=6)),
    )


def check(client: Bench) -> None:
    """The promises to a client, in what it was told."""
    active: dict[str, list[ev.Event]] = {}
    over: set[str] = set()
    speaking = False
    for event in client.events:
        match event:
            case ev.ResponseStarted():
                assert not active, "two replies at once"
                active[event.response_id] = []
            case (
                ev.ResponseText()
                | ev.ResponseAudio()
                | ev.ResponseItemAdded()
                | ev.ToolCalled()
                | ev.ResponseThinking()
            ):
                assert event.response_id in active, "something of a reply that is over"
                active[event.response_id].append(event)
            case ev.ResponseDone():
                told = active.pop(event.response_id)
                over.add(event.response_id)
                text = "".join(piece.text for piece in told if isinstance(piece, ev.ResponseText))
                assert (event.item is not None) == any(isinstance(piece, ev.ResponseItemAdded) for piece in told)
                if event.item is not None and event.status == "cancelled":
                    assert (text + " ").startswith(event.item.text)
                elif event.item is not None:
                    assert event.item.text == text
                assert event.calls == tuple(piece.call for piece in told if isinstance(piece, ev.ToolCalled))
                assert (event.error_code is not None) == (event.status == "failed")
            case ev.ResponsePlayed():
                assert event.response_id in over
            case ev.SpeechStarted():
                assert not speaking
                speaking = True
            case ev.SpeechStopped():
                assert speaking
                speaking = False
            case ev.AudioCleared():
                speaking = False
    assert not active, "a reply that never ends"
    committed = [event.item_id for event in client.of(ev.AudioCommitted)]
    known = {done.item_id for done in client.of(ev.TranscriptDone)}
    known |= {failed.item_id for failed in client.of(ev.TranscriptFailed)}
    assert set(committed) == known
    assert len(committed) == len(set(committed))
    mine = [called.call.call_id for called in client.of(ev.ToolCalled) if not called.by_client]
    added = [event.item for event in client.of(ev.ItemAdded)]
    results = [item.call_id for item in added if isinstance(item, FunctionOutput) and not item.id.startswith("out_")]
    assert sorted(mine) == sorted(results), "a call without its result"
    for request in client.model.requests:
        legal(request.messages)


async def all_over(client: Bench) -> None:
    """Wait until nothing has happened for a while: everything comes to its end."""
    async with asyncio.timeout(DEADLINE * 2):
        told = -1
        while told != len(client.events):
            told = len(client.events)
            await asyncio.sleep(9)


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_the_client_does(seed: int) -> None:
    dice = random.Random(seed)
    failure = EngineError("llm", "unavailable", "gone")
    answers = [
        Answer(
            "The first of it. And then a second clause. " * dice.randint(0, 3) + "The end.",
            first=dice.choice([0.0, 0.3, 2.0]),
            each=dice.choice([0.0, 0.05]),
            end=failure if dice.random() < 0.1 else Completed(),
            calls=tuple(call(name, call_id="c") for name in NAMES if dice.random() < 0.2),
            thoughts=("Hm. ",) * dice.randint(0, 2),
        )
        for _ in range(50)
    ]
    words: list[str | EngineError] = [
        EngineError("asr", "timeout", "slow") if dice.random() < 0.1 else dice.choice(["", "Yes.", f"Words {number}."])
        for number in range(99)
    ]
    vad = LoudnessVad()
    vad.slow = dice.choice([0.0, 0.002, 0.01])
    asr = WordsAsr(words, dice.choice([0.0, 0.1, 1.5]))
    settings = Settings(filler=FillerSection(after_ms=dice.choice([0, 100, 1000])))
    async with bench(*answers, asr=asr, vad=vad, toolbox=any_tools(dice), settings=settings) as client:
        if dice.random() < 0.3:
            client.voice.fail_at = dice.randint(0, 20)
        for number in range(STEPS):
            action = dice.random()
            if action < 0.35:
                await client.say(dice.choice([0.06, 0.1, 0.3, 1.0]))
            elif action < 0.4:
                client.muted = not client.muted
            else:
                with contextlib.suppress(Refused):
                    client.ask(any_command(dice, client, number))
            await asyncio.sleep(dice.choice([0.0, 0.0, 0.01, 0.3, 0.7, 2.0]))
        client.muted = False
        client.ask(cmd.Configure(SessionOptions()))
        await all_over(client)
        check(client)
        told = len(client.of(ev.ResponseDone))
        await client.turn()  # and a plain turn works as on the first day
        await all_over(client)
        check(client)
        words_came = bool(client.of(ev.TranscriptDone) and client.of(ev.TranscriptDone)[-1].text)
        assert len(client.of(ev.ResponseDone)) > told or not words_came
    audio = client.of(ev.ResponseAudio)
    assert all(len(piece.pcm) <= RATE for piece in audio)
    assert all(piece.pcm.dtype == np.int16 for piece in audio)
