"""Ways to begin a turn: keys, push-to-talk, a wake word; and the terminal they are shown on."""

import asyncio
import os
import pty
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from voiceagent_client.audio_io import Frame
from voiceagent_client.connection import Backoff, RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.errors import AudioError, ClientError, RefusedError
from voiceagent_client.happenings import AgentText, ResponsePlayed, ResponseStarted, UserText
from voiceagent_client.keys import keys
from voiceagent_client.microphone import QUIETEST_DB, Microphone
from voiceagent_client.pcm import FRAME, FRAME_SECONDS, Pcm, silence
from voiceagent_client.playback import Player
from voiceagent_client.push import PushToTalk
from voiceagent_client.screen import Screen, fitted, meter
from voiceagent_client.talk import Booth, Patience, by_wake_word
from voiceagent_client.wake import WakeWord

from tests.support.client_server import Call, RealtimeServer, Reply, tone
from tests.support.speech import Speak


class Ear:
    """A microphone that hears these sounds one after the other, and silence when they are over; its loudspeaker plays
    to nobody."""

    def __init__(self, *sounds: Pcm, player: Player | None = None) -> None:
        self.sounds = list(sounds)
        self.player = player or Player()

    async def read(self) -> Frame:
        self.player.read_into(silence(FRAME))
        await asyncio.sleep(FRAME_SECONDS / 4)  # four times as fast as life
        while self.sounds and not len(self.sounds[0]):
            self.sounds.pop(0)
        if not self.sounds:
            return Frame(silence(FRAME))
        piece, self.sounds[0] = self.sounds[0][:FRAME], self.sounds[0][FRAME:]
        return Frame(np.concatenate((piece, silence(FRAME - len(piece)))))


async def test_the_microphones_switch_and_level() -> None:
    microphone = Microphone(Ear(tone(40, 32767)), on=True)
    assert len((await microphone.read()).pcm) == FRAME
    assert microphone.level_db == pytest.approx(-3, abs=0.1)
    assert microphone.frames_on == 1
    microphone.on = False
    assert len((await microphone.read()).pcm) == 0
    assert (microphone.level_db, microphone.frames_on) == (QUIETEST_DB, 0)
    microphone.on = True
    assert len((await microphone.read()).pcm) == FRAME
    assert microphone.level_db == QUIETEST_DB


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the keyboard's and the program's."""
    keyboard, program = pty.openpty()
    yield keyboard, program
    os.close(keyboard)
    os.close(program)


async def test_keys_come_at_once_and_the_terminal_is_restored_whatever_happens(terminal: tuple[int, int]) -> None:
    keyboard, program = terminal
    before = termios.tcgetattr(program)
    typed: list[str] = []

    async def talk() -> None:
        with keys(typed.append, program):
            assert not termios.tcgetattr(program)[3] & (termios.ICANON | termios.ECHO)
            assert termios.tcgetattr(program)[3] & termios.ISIG, "Ctrl-C still works"
            os.write(keyboard, b" x")
            async with asyncio.timeout(5):
                while len(typed) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            raise RuntimeError("something broke")

    with pytest.raises(RuntimeError, match="something broke"):
        await talk()
    assert typed == [" ", "x"]
    assert termios.tcgetattr(program) == before


async def test_without_a_terminal_there_are_no_keys(tmp_path: Path) -> None:
    with (
        (tmp_path / "file").open("w") as file,
        pytest.raises(ClientError, match="needs a terminal"),
        keys(lambda key: None, file.fileno()),
    ):
        pass


@pytest.mark.looptime
async def test_a_held_key_is_released_when_it_repeats_no_more() -> None:
    loop, microphone = asyncio.get_running_loop(), Microphone(Ear(), on=True)
    push = PushToTalk("hold", microphone)
    unconnected = RealtimeConnection("ws://127.0.0.1:1/")
    running = asyncio.create_task(push.run(Conversation(unconnected, microphone, Player())))

    async def held() -> float:
        """Seconds from now for which the microphone stays on."""
        start = loop.time()
        while microphone.on:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return loop.time() - start

    await asyncio.sleep(1)
    assert not microphone.on, "nothing was struck"
    push.key()
    await asyncio.sleep(0.01)
    assert microphone.on
    for pause in (0.6, *[0.05] * 20):  # the system waits, then repeats
        await asyncio.sleep(pause)
        assert microphone.on
        push.key()
    assert await held() == pytest.approx(0.2, abs=0.03)
    push.key()
    await asyncio.sleep(0.01)
    assert await held() == pytest.approx(0.75, abs=0.03), "one short press"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.looptime
async def test_patience_ends_when_nothing_has_happened_for_a_while() -> None:
    loop, patience = asyncio.get_running_loop(), Patience(10)
    waiting = asyncio.create_task(patience.run())
    start = loop.time()
    await asyncio.sleep(9)
    patience.notice(ResponseStarted("r"))
    await asyncio.sleep(60)
    assert not waiting.done(), "an answer is under way"
    patience.notice(ResponsePlayed("r", "completed"))
    await waiting
    assert loop.time() - start == pytest.approx(79, abs=0.1)


@pytest.fixture(params=["pymicro_wakeword", "pyopen_wakeword"])
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the two packages; the other is not there."""
    name: str = request.param
    pytest.importorskip(name, reason="this wake word package is not installed")
    for other in {"pymicro_wakeword", "pyopen_wakeword"} - {name}:
        monkeypatch.setitem(sys.modules, other, None)
    return name


def heard_at(word: WakeWord, pcm: Pcm) -> list[int]:
    return [at for at in range(0, len(pcm) - FRAME + 1, FRAME) if word.hears(pcm[at : at + FRAME])]


def test_the_wake_word_is_heard_and_other_words_are_not(package: str, speak: Speak) -> None:
    word, quiet = WakeWord("hey_jarvis"), silence(24_000)
    assert word.spoken == "hey jarvis"
    assert heard_at(word, np.concatenate((quiet, speak("What is the capital of France?"), quiet))) == []
    for _ in range(2):
        call = speak("Hey Jarvis.")
        [at] = heard_at(word, np.concatenate((quiet, call, quiet)))
        assert len(quiet) < at < len(quiet) + len(call) + 24_000 // 2


def test_a_wake_word_that_is_not_there(package: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="alexa"):
        WakeWord("hey_nobody")
    with pytest.raises(AudioError, match="no wake word model"):
        WakeWord(str(tmp_path / "mine.tflite"))


def test_without_a_wake_word_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pymicro_wakeword", "pyopen_wakeword"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(AudioError, match=r"pip install pymicro-wakeword"):
        WakeWord("alexa")


async def test_asleep_nothing_is_sent_and_awake_the_talk_goes_on_where_it_was(package: str, speak: Speak) -> None:
    async def first(call: Call) -> None:
        await call.open()
        await call.user_turn("What time is it?")
        reply = await Reply(call).start()
        await reply.say("Noon.", tone(100))
        await reply.end()
        await call.stay()

    async def second(call: Call) -> None:
        await call.open()
        await call.stay()

    async def refuse(call: Call) -> None:
        raise AssertionError("not reached")

    calling = np.concatenate((silence(12_000), speak("Hey Jarvis."), silence(12_000)))
    player = Player()
    ear = Ear(calling, tone(300), silence(24_000 * 6), calling, silence(24_000 * 6), calling, player=player)
    async with RealtimeServer(first, second, refuse, refuse=[0, 0, 401]) as server:
        booth = Booth(
            lambda: RealtimeConnection(server.url, backoff=Backoff(attempts=1)),
            Microphone(ear),
            player,
            Screen(text=False, timings=False),
        )
        with pytest.raises(RefusedError):
            async with asyncio.timeout(30):
                await by_wake_word(booth, WakeWord("hey_jarvis"), awake_seconds=1.0)
    assert len(server.calls) == 2
    told = [event["item"] for event in server.calls[1].received[1:]]
    assert [item["role"] for item in told] == ["user", "assistant"]  # type: ignore[index,call-overload]
    assert sum(map(len, server.calls[0].heard)) < len(calling) + 24_000 * 6, "not before the word, not after its time"


def test_the_meter_and_the_line_fit_the_terminal() -> None:
    assert meter(0.0) == "[############]"
    assert meter(QUIETEST_DB) == "[............]"
    assert meter(-30.0) == "[######......]"
    line = f"{meter(0.0)} you talk  巴黎是法国的首都"
    assert fitted(line, 80) == line
    assert fitted(line, 22) == f"{meter(0.0)}国的首都"


def test_captions_and_no_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(text=True, timings=False, live=True)
    screen.show(UserText("u", "", "你好\x1b[2J", True))
    screen.show(AgentText("a", "Hel", "Hel", False))
    screen.show(AgentText("a", "", "Hello.", True))
    screen.say("a note")
    printed = capsys.readouterr()
    assert printed.out == "you:   你好 [2J\nagent: Hello.\n"
    assert printed.err == "a note\n"
