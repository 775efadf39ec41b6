"""The client's command line, run as its own process against a scripted server."""

import asyncio
import os
import signal
import sys
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from voiceagent_client.cli import Options, _key, main
from voiceagent_client.pcm import FRAME, RATE, silence
from voiceagent_client.screen import printable
from voiceagent_client.wav import recording

from tests.support.client_server import Call, RealtimeServer, Reply, tone


async def start(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "voiceagent_client.cli"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=kept | dict(environment or {}),
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Exit code, what was printed, and what was complained of."""
    try:
        async with asyncio.timeout(30):
            out, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), complaints.decode()


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """A recording of 0.3 s of tone (its right channel is silent, so half as loud when mixed)."""
    with recording(tmp_path / "question.wav") as recorder:
        recorder.write(tone(300, amplitude=16_000), silence(FRAME * 15))
    return tmp_path / "question.wav"


async def answer(call: Call) -> None:
    session = await call.open()
    assert session["instructions"] == "Be brief."
    for turn in range(2):
        await call.user_turn("你好")
        reply = await Reply(call).start()
        await reply.say(f"Answer {turn}.", tone(200))
        await reply.end()
        await call.send("voiceagent.timeline", item_id="i", response_id="r", response_ms=5, parts={"asr": 5})
    await call.stay()


async def test_two_recordings_are_answered_and_recorded(tmp_path: Path, question: Path) -> None:
    out = tmp_path / "out.wav"
    options = ("--instructions", "Be brief.", "--text", "--timings", "--model", "m")
    async with RealtimeServer(answer) as server:
        process = await start(
            *("--url", server.url, "--wav", question, question, "--out", out, *options),
            environment={"OPENAI_API_KEY": "sk-env"},
        )
        code, printed, complaints = await finish(process)
        assert server.requests[0].headers["Authorization"] == "Bearer sk-env"
        assert server.requests[0].path.endswith("?model=m")
    assert (code, complaints) == (0, "connected\n")
    lines = [line for line in printed.splitlines() if "answered after" not in line]
    assert lines == [
        "you:   你好",
        "agent: Answer 0.",
        "       (server: 5 ms = asr 5)",
        "you:   你好",
        "agent: Answer 1.",
        "       (server: 5 ms = asr 5)",
    ]
    assert printed.count("answered after") == 2
    with wave.open(str(out)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
        assert file.getframerate() == RATE
    assert np.count_nonzero(both[:, 1]) == 2 * np.count_nonzero(tone(200))


async def test_a_refused_key_is_said_plainly(question: Path) -> None:
    async with RealtimeServer(answer, refuse=[401]) as server:
        process = await start("--url", server.url, "--wav", question, environment={"VOICEAGENT_API_KEY": "sk-secret"})
        code, printed, complaints = await finish(process)
    assert (code, printed) == (1, "")
    assert complaints.startswith("voiceagent-client: ws://127.0.0.1")
    assert "refused the API key (HTTP 401)" in complaints
    assert "sk-secret" not in complaints
    assert "Traceback" not in complaints


async def test_ctrl_c_leaves_a_whole_recording(tmp_path: Path, question: Path) -> None:
    listening = asyncio.Event()

    async def listen(call: Call) -> None:
        await call.open()
        await call.receive()
        listening.set()
        await call.stay()

    out = tmp_path / "out.wav"
    async with RealtimeServer(listen) as server:
        process = await start("--url", server.url, "--wav", question, "--out", out)
        async with asyncio.timeout(30):
            await listening.wait()
        process.send_signal(signal.SIGINT)
        code, _, complaints = await finish(process)
    assert (code, complaints) == (130, "connected\n")
    with wave.open(str(out)) as file:
        assert file.getnframes() >= FRAME


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "x.wav"],
        ["--timeout", "soon"],
        ["--wav"],
        ["--nothing"],
        ["--push-to-talk", "--wake"],
        ["--buffer", "-1"],
        ["--buffer", "x"],
        ["--awake", "0"],
        ["--echo", "loud"],
        ["--push-to-talk", "sometimes"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_what_cannot_work_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--wav", str(tmp_path / "none.wav")]) == 1
    assert "No such file" in capsys.readouterr().err
    with recording(tmp_path / "in.wav"):
        pass
    assert main(["--url", "ws://[", "--wav", str(tmp_path / "in.wav")]) == 1
    assert "malformed" in capsys.readouterr().err
    assert main(["--url", "http://x", "--wav", str(tmp_path / "in.wav")]) == 1
    assert "must be ws://" in capsys.readouterr().err


def test_openais_key_goes_to_openai_and_to_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOICEAGENT_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    for url in ("wss://api.openai.com/v1/realtime", "ws://127.0.0.1:8000/v1/realtime"):
        assert _key(Options(url=url)) == "sk-openai"
    for url in ("wss://talk.example.com/", "wss://notopenai.com/", "wss://openai.com.example.com/"):
        assert _key(Options(url=url)) is None
    monkeypatch.setenv("VOICEAGENT_API_KEY", "key")
    assert _key(Options(url="wss://talk.example.com/")) == "key"
    assert _key(Options(url="wss://talk.example.com/", key="given")) == "given"
    assert "given" not in repr(Options(key="given"))


def test_a_server_cannot_steer_the_terminal() -> None:
    assert printable("agent: \x1b[2J你好\n") == "agent:  [2J你好 "
