"""The demo as a user runs it, and the judging of its turns."""

import json
import os
import socket
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from voiceagent.cli.demo import DemoTurn, ScriptLine, judge, read_script, word_errors
from voiceagent.cli.local_engines import local_environment
from voiceagent.errors import ConfigError
from voiceagent.models.store import ModelStore


def test_word_errors_count_edits() -> None:
    assert word_errors("What is my name?", "what is my name") == 0.0
    assert word_errors("What is my name?", "What was my game") == 0.5
    assert word_errors("one two", "") == 1.0


def test_a_turn_that_went_wrong_says_why() -> None:
    line = ScriptLine("x.wav", "What is my name?", expect="Anna")
    right = DemoTurn(line.text, "What is my name?", "It is Anna.", response_ms=500)
    judge(right, line, None)
    assert right.trouble == []
    wrong = DemoTurn(line.text, "Watch his mane", "I do not know.", interrupted=True)
    judge(wrong, line, None)
    assert len(wrong.trouble) == 4
    cut = ScriptLine("y.wav", "Stop.", interrupt_after_ms=100)
    talked_on = DemoTurn(line.text, line.text, "Anna", response_ms=500)
    judge(talked_on, line, cut)
    assert talked_on.trouble == ["was not interrupted"]


def test_a_folder_without_a_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"script\.toml is not a demo script"):
        read_script(tmp_path)


def test_environment_of_the_demo_keeps_to_this_machine() -> None:
    given = {
        "PATH": "/bin",
        "OPENAI_API_KEY": "sk",
        "openai_base_url": "https://api.example.com",
        "voiceagent_llm__engine": "openai",
        "VOICEAGENT_MODELS_DIR": "/models",
        "DEEPGRAM_API_KEY": "k",
    }
    engines = {"VAD": "silero", "ASR": "sherpa", "LLM": "embedded", "TTS": "hibari"}
    assert local_environment(given) == {
        "PATH": "/bin",
        "VOICEAGENT_MODELS_DIR": "/models",
        **{f"VOICEAGENT_{stage}__ENGINE": engine for stage, engine in engines.items()},
    }


@pytest.mark.real
def test_the_demo_holds_a_conversation(models: ModelStore, tmp_path: Path) -> None:
    recording = tmp_path / "talk.wav"
    command = [sys.executable, "-m", "voiceagent", "demo", "--json", "--out", str(recording)]
    with socket.create_server(("127.0.0.1", 0)) as cloud:  # nobody may come
        address = f"http://127.0.0.1:{cloud.getsockname()[1]}/v1"
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": address,
            "OPENAI_API_KEY": "sk-test",
            "VOICEAGENT_LLM__ENGINE": "openai",
            "VOICEAGENT_TTS__ENGINE": "openai",
            "VOICEAGENT_TTS__BASE_URL": address,
            "VOICEAGENT_ASR": "no JSON",
        }
        run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
        assert run.returncode == 0, run.stderr
        cloud.setblocking(False)
        with pytest.raises(BlockingIOError):
            cloud.accept()
    result = json.loads(run.stdout)
    assert len(result["turns"]) >= 4
    assert [turn["interrupted"] for turn in result["turns"]].count(True) == 1
    for turn in result["turns"]:
        assert turn["response_ms"] > 0
        assert turn["parts"]["endpointing"] > 0
    with wave.open(str(recording)) as file:
        assert file.getnchannels() == 2
        assert file.getnframes() / file.getframerate() > 10
