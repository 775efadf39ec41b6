"""Problems of a configuration: all at once, a line each, with what may be meant and without what may be secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typer.testing import CliRunner

from voiceagent.cli.main import app
from voiceagent.problems import InvalidConfig, did_you_mean, known_keys
from voiceagent.server.configuration import load_checked
from voiceagent.settings import Settings, load

KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("VOICEAGENT_", "OPENAI_")):
            monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text, "utf-8")
    return path


def problems(path: Path | None) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        load_checked(path)
    lines = list(caught.value.problems)
    assert not any("\n" in line or KEY in line for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[servre]\nport = 1", 'servre: there is no such key; did you mean "server"?'),
        ("[server]\nprot = 1", 'server.prot: there is no such key; did you mean "port"?'),
        ("port = 1", "port: there is no such key; it belongs into [server]"),
        (
            "[telephone.twilio]\nauth_tokn = 'x'",
            'telephone.twilio.auth_tokn: there is no such key; did you mean "auth_token"?',
        ),
        ("[[tools.mcp]]\nname = 'a'\nurll = 'http://h'", 'tools.mcp.0.urll: there is no such key; did you mean "url"?'),
        (
            "[interrupt.speaking]\nword_ms = 3",
            'interrupt.speaking.word_ms: there is no such key; did you mean "words_ms"?',
        ),
        (
            "[xiaozhi]\nnodes = [{url = 'http://h', wieght = 2}]",
            'xiaozhi.nodes.0.wieght: there is no such key; did you mean "weight"?',
        ),
        ("[server]\nport = 'many'", "server.port: must be a whole number"),
        ("[admin]\nkey = 1", "admin.key: must be text in quotes"),
        ("server = 1", "server: must be a table"),
        ("[limits]\nallowed_origins = 'x'", "limits.allowed_origins: must be a list"),
        (
            "[asr]\nengine = 'sherpo'",
            "[asr] engine = 'sherpo' is not installed; there is: openai, sherpa; did you mean \"sherpa\"?",
        ),
        ("[tts]\nspeeed = 2", "[tts] speeed: there is no such key; did you mean \"speed\"? (engine 'hibari')"),
        (
            "[memory]\nengine = 'sqlit'\npath = 'x'",
            "[memory] engine = 'sqlit' is not installed; there is: sqlite; did you mean \"sqlite\"?",
        ),
        ("[channels.mqtt]\nport = 1", "[channels.mqtt] engine = 'mqtt' is not installed; none is"),
        (
            "[server]\ntls_cert = 'no/cert.pem'\ntls_key = 'no/key.pem'",
            "[server] tls_cert, tls_key: No such file or directory (no/cert.pem)",
        ),
        ("[server\n", "Expected ']' at the end of a table declaration (at line 1, column 8)"),
    ],
)
def test_a_problem_has_one_line_with_its_key_and_what_may_be_meant(tmp_path: Path, text: str, line: str) -> None:
    assert line in problems(written(tmp_path, text))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = f"""
        [servre]
        port = 1
        [turn]
        threshold = 2
        silence = 3
        [limits]
        api_keys = [{{name = "ann", kye = "{KEY}"}}]
        [asr]
        engine = "wishper"
        [llm]
        engine = "openai"
        modle = "{KEY}"
    """
    found = problems(written(tmp_path, text))
    for key in ("servre: ", "turn.threshold: ", "turn.silence: ", "limits.api_keys.0.kye: ", "limits.api_keys.0.key: "):
        assert len([line for line in found if line.startswith(key)]) == 1, key
    assert len([line for line in found if line.startswith("[asr] engine")]) == 1
    assert len([line for line in found if line.startswith("[llm] modle")]) == 1


def test_unreadable_files_are_problems(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"[agent]\nvoice = '\xe9'")
    for name, reason in {
        "none": "no configuration file at",
        ".": "no configuration file at",
        "latin.toml": "is not utf-8",
    }.items():
        [line] = problems(tmp_path / name)
        assert reason in line


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("VOICEAGENT_LIMTS__API_KEYS", "[]", 'there is no section LIMTS; did you mean "limits"?'),
        ("VOICEAGENT_NOSUCH__KEY", KEY, "there is no section NOSUCH"),
        ("VOICEAGENT_MODLES_DIR", "/x", 'did you mean "models_dir"?'),
        ("VOICEAGENT_LIMITS__API_KYES", "[]", 'limits.api_kyes: there is no such key; did you mean "api_keys"?'),
        ("VOICEAGENT_TELEPHONE__TWILLIO__AUTH_TOKEN", KEY, 'did you mean "twilio"?'),
        ("voiceagent_servr__port", "1", 'did you mean "server"?'),
    ],
)
def test_a_mistyped_variable_is_a_problem(monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str) -> None:
    monkeypatch.setenv(name, value)
    assert any(line in one for one in problems(None))
    with pytest.raises(InvalidConfig):
        load()


def test_variables_of_other_programs_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOICEAGENT_API_KEY", "VOICEAGENT_URL", "VOICEAGENT_TTS_API_KEY", "MY_VOICEAGENT_LIMTS__X"):
        monkeypatch.setenv(name, "x")
    load()


def test_config_check_tells_all_and_ends_with_one(tmp_path: Path) -> None:
    run = CliRunner()
    wrong = run.invoke(app, ["config", "check", str(written(tmp_path, "[servre]\n[turn]\nmodel = 'x'"))])
    assert (wrong.exit_code, len(wrong.output.splitlines())) == (1, 2)
    assert all(line.startswith(f"{tmp_path}/agent.toml: ") for line in wrong.output.splitlines())
    right = run.invoke(app, ["config", "check", str(written(tmp_path, "[server]\nport = 1"))])
    assert right.exit_code == 0, right.output


def test_serve_tells_all_problems_before_it_begins(tmp_path: Path) -> None:
    path = written(tmp_path, "[servre]\n[tts]\nengine = 'parrot'")
    command = [sys.executable, "-m", "voiceagent", "serve", "--config", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "servre" in run.stderr
    assert "parrot" in run.stderr
    assert "Traceback" not in run.stderr


def tables(model: type[BaseModel]) -> list[str]:
    return list(model.model_fields)


@given(st.sampled_from(tables(Settings)), st.data())
def test_a_swapped_letter_is_always_understood(section: str, data: st.DataObject) -> None:
    keys = known_keys(Settings, (section,)) or [section]
    key = data.draw(st.sampled_from(keys))
    at = data.draw(st.integers(0, max(len(key) - 2, 0)))
    typed = key[:at] + key[at : at + 2][::-1] + key[at + 2 :]
    if len(key) > 3:
        assert did_you_mean(typed, keys).startswith("; did you mean")


def test_what_is_written_by_hand_is_read_back(tmp_path: Path) -> None:
    path = written(tmp_path, f"[limits]\napi_keys = [{{name = 'ann', key = {json.dumps(KEY)}}}]")
    assert load_checked(path).limits.api_keys[0].key.get_secret_value() == KEY
