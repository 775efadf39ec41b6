"""The command line: what is wrong is told in one line on stderr with exit code 2, without a traceback."""

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from voiceagent import __version__
from voiceagent.cli.main import app

TOML = "[server]\nport = 0\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOICEAGENT_MODELS_DIR", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "40")  # a message stays one line all the same


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def serve(folder: Path, text: str, *arguments: str) -> str:
    """The one line that serve with this configuration ends with."""
    path = folder / "voiceagent.toml"
    path.write_text(text, "utf-8")
    result = run("serve", "--config", str(path), *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server\n", "voiceagent.toml: Expected"),
        ("[server]\nprot = 1", "voiceagent.toml: server.prot: there is no such key"),
        ("[vad]\nengine = 'nosuch'", "[vad] engine = 'nosuch' is not installed; there is: silero"),
        ("[asr]\nengine = 'sherpa'\ncolour = 'red'", "[asr] colour: "),
        ("[llm]\nengine = 'openai'\nbase_url = 'not a url'", "[llm] base_url: "),
        ("[llm]\nengine = 'openai'", "api_key"),
        ("[tts]\nengine = 'openai'\napi_key = 'sk secret'", "[tts] api_key: "),
        ("[server]\ntls_cert = '/no/cert.pem'\ntls_key = '/no/key.pem'", "error: [server] tls_cert, tls_key: No such"),
    ],
)
def test_a_wrong_configuration(tmp_path: Path, text: str, told: str) -> None:
    line = serve(tmp_path, text)
    assert told in line
    assert "sk secret" not in line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = run("serve", "--config", str(tmp_path / "none.toml"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no configuration file at" in result.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = serve(tmp_path, "[llm]\nengine = 'openai'\nbase_url = 'http://localhost:1/v1'", "--port", str(port))
    assert f"[server] cannot listen on 127.0.0.1, port {port}: Address already in use" in line


@pytest.mark.parametrize("host", ["203.0.113.1", "no.such.host.invalid"])
def test_an_address_that_is_not_ours(tmp_path: Path, host: str) -> None:
    line = serve(
        tmp_path, "[llm]\nengine = 'openai'\nbase_url = 'http://localhost:1/v1'", "--host", host, "--port", "0"
    )
    assert f"[server] cannot listen on {host}" in line


def test_a_port_that_is_none() -> None:
    result = run("serve", "--port", "70000")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


@pytest.mark.real
def test_models_that_are_not_there(tmp_path: Path) -> None:
    models = tmp_path / "models"
    line = serve(tmp_path, f"models_dir = '{models}'\n{TOML}log_level = 'error'")
    assert "voiceagent models fetch" in line


def test_the_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"{__version__}\n")


def test_a_command_that_is_none() -> None:
    result = run("sing")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
