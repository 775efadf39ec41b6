"""Clients that do anything at any moment, in virtual time: whatever it was, the talk keeps its promises."""

import asyncio
import contextlib
import random

import numpy as np
import pytest

from tests.session_bench import RATE, Answer, Bench, LoudnessVad, WordsAsr, bench
from voiceagent.errors import EngineError, Refused
from voiceagent.llm.base import Completed
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.items import Item, Part
from voiceagent.session.options import SessionOptions, TurnOptions

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

STEPS = 60


def any_options(dice: random.Random) -> SessionOptions:
    turn = TurnOptions(
        silence_ms=dice.choice([None, 200, 800]),
        create_reply=dice.random() < 0.8,
        interrupt_reply=dice.random() < 0.8,
    )
    return SessionOptions(
        instructions=f"Version {dice.random()}.",
        modality="text" if dice.random() < 0.1 else "audio",
        turn=turn if dice.random() < 0.8 else None,
    )


def any_command(dice: random.Random, client: Bench, number: int) -> cmd.Command:
    items = [event.item.id for event in client.of(ev.ItemAdded)] + [
        event.item.id for event in client.of(ev.ReplyItemAdded)
    ]
    item_id = dice.choice([*items, "nobody"])
    item = Item(dice.choice([f"own_{number}", item_id]), "user", (Part("text", "Typed."),))
    commands: list[cmd.Command] = [
        cmd.CreateReply(),
        cmd.CreateReply(store=False, input=(Item("", "user", (Part("text", "Aside."),)),)),
        cmd.CreateReply(modality="text"),
        cmd.CancelReply(),
        cmd.CancelReply("resp_x"),
        cmd.CommitAudio(),
        cmd.ClearAudio(),
        cmd.CreateItem(item, dice.choice([None, None, "root", item_id])),
        cmd.DeleteItem(item_id),
        cmd.RetrieveItem(item_id),
        cmd.TruncateItem(item_id, dice.choice([0, 700, 10**9])),
        cmd.Configure(any_options(dice)),
    ]
    return dice.choice(commands)


def check(client: Bench) -> None:
    """The promises to a client, in what it was told."""
    active: dict[str, list[ev.Event]] = {}
    over: set[str] = set()
    speaking = False
    for event in client.events:
        match event:
            case ev.ReplyStarted():
                assert not active, "two replies at once"
                active[event.reply_id] = []
            case ev.ReplyText() | ev.ReplyAudio() | ev.ReplyItemAdded():
                assert event.reply_id in active, "something of a reply that is over"
                active[event.reply_id].append(event)
            case ev.ReplyDone():
                told = active.pop(event.reply_id)
                over.add(event.reply_id)
                text = "".join(piece.text for piece in told if isinstance(piece, ev.ReplyText))
                assert (event.item is not None) == any(isinstance(piece, ev.ReplyItemAdded) for piece in told)
                if event.item is not None and event.status == "cancelled":
                    assert (text + " ").startswith(event.item.text)
                elif event.item is not None:
                    assert event.item.text == text
                assert (event.error_code is not None) == (event.status == "failed")
            case ev.ReplyPlayed():
                assert event.reply_id in over
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


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_the_client_does(seed: int) -> None:
    dice = random.Random(seed)
    failure = EngineError("llm", "unavailable", "gone")
    answers = [
        Answer(
            "The first of it. And then a second clause. " * dice.randint(0, 3) + "The end.",
            first=dice.choice([0.0, 0.3, 2.0]),
            each=dice.choice([0.0, 0.05]),
            end=failure if dice.random() < 0.1 else Completed(),
        )
        for _ in range(50)
    ]
    words: list[str | EngineError] = [
        EngineError("asr", "timeout", "slow") if dice.random() < 0.1 else dice.choice(["", "Yes.", f"Words {number}."])
        for number in range(99)
    ]
    vad = LoudnessVad()
    vad.slow = dice.choice([0.0, 0.002, 0.01])
    async with bench(*answers, asr=WordsAsr(words, dice.choice([0.0, 0.1, 1.5])), vad=vad) as client:
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
        await asyncio.sleep(60)  # everything comes to its end
        check(client)
        told = len(client.of(ev.ReplyDone))
        await client.turn()  # and a plain turn works as on the first day
        await asyncio.sleep(40)
        check(client)
        words_came = bool(client.of(ev.TranscriptDone) and client.of(ev.TranscriptDone)[-1].text)
        assert len(client.of(ev.ReplyDone)) > told or not words_came
    audio = client.of(ev.ReplyAudio)
    assert all(len(piece.pcm) <= RATE for piece in audio)
    assert all(piece.pcm.dtype == np.int16 for piece in audio)
