"""The configuration: one file, the environment above it, and one clear line for everything that is wrong."""

import os
from pathlib import Path

import pytest

from voiceagent.errors import ConfigError
from voiceagent.settings import Settings, load

KEYS = 'api_keys = [{name = "ann", key = "sk-1"}]'


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("VOICEAGENT_", "OPENAI_")):
            monkeypatch.delenv(name)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "voiceagent.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_without_a_file_everything_has_a_default() -> None:
    settings = load()
    assert settings.model_dump() == Settings().model_dump()
    assert settings.server.host == "127.0.0.1"
    assert settings.llm_section.engine == "embedded"


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "[server]\nport = 9000\nhost = '0.0.0.0'\n[turn]\nsilence_ms = 300\n[agent]\nvoice = '小'")
    monkeypatch.setenv("VOICEAGENT_SERVER__PORT", "9001")
    monkeypatch.setenv("VOICEAGENT_LIMITS__API_KEYS", '[{"name": "ann", "key": "sk-1"}]')
    settings = load(path)
    assert (settings.server.port, settings.server.host, settings.turn.silence_ms) == (9001, "0.0.0.0", 300)
    assert settings.agent.voice == "小"
    assert settings.limits.api_keys[0].key.get_secret_value() == "sk-1"


def test_an_engines_own_options_are_kept_for_it(tmp_path: Path) -> None:
    settings = load(written(tmp_path, "[llm]\nengine = 'openai'\nmodel = 'm'\nextra = {a = 1}"))
    assert settings.llm_section.with_options() == {"engine": "openai", "model": "m", "extra": {"a": 1}}


def test_an_option_alone_is_for_the_default_engine(tmp_path: Path) -> None:
    assert load(written(tmp_path, "[tts]\nspeed = 2")).tts.with_options() == {"engine": "hibari", "speed": 2}


def test_openais_own_variables_name_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert load().llm_section.engine == "openai"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server\n", "line 1"),
        (b"\xff\xfe", "utf-8"),
        ("port = 1", "port: there is no such key"),
        ("[server]\nprot = 1", "server.prot: there is no such key"),
        ("[servre]\nport = 1", "servre: there is no such key"),
        ("[server]\nport = 'many'", "server.port: "),
        ("[server]\nport = 70000", "server.port: "),
        ("[server]\nlog_level = 'loud'", "server.log_level: "),
        ("[server]\ntls_cert = 'cert.pem'", "tls_cert and tls_key"),
        ("[server]\ndrain_seconds = 0", "server.drain_seconds: "),
        ("[deadlines]\nllm_first_token_seconds = -1", "deadlines.llm_first_token_seconds: "),
        ("[llm]\nmodel = 'x'", "llm.engine: "),
        ("[limits]\napi_keys = 'sk-1'", "limits.api_keys: "),
        ("[limits]\napi_keys = [{name = 'ann'}]", "limits.api_keys.0.key: "),
        ("[limits]\napi_keys = [{name = 'a/b', key = 'sk-1'}]", "limits.api_keys.0.name: "),
        ("[limits]\napi_keys = [{name = 'ann', key = ''}]", "limits.api_keys.0.key: must be"),
        ("[limits]\napi_keys = [{name = 'ann', key = 'sk- 1'}]", "limits.api_keys.0.key: must be"),
        ("[limits]\napi_keys = [{name = 'ann', key = 'schlüssel'}]", "limits.api_keys.0.key: must be"),
        ("[turn]\nthreshold = 1.5", "turn.threshold: "),
        ("[playout]\nlead_ms = 1", "playout.lead_ms: "),
        ("[playout]\nlead_ms = nan", "playout.lead_ms: "),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text))
    message = str(error.value)
    assert told in message
    assert "voiceagent.toml" in message
    assert "\n" not in message
    for secret in ("sk-1", "sk- 1", "schlüssel"):
        assert secret not in message


@pytest.mark.parametrize("name", ["VOICEAGENT_SERVER__PORT", "VOICEAGENT_LIMITS__API_KEYS"])
def test_what_is_wrong_in_the_environment_is_named_too(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "sk-nonsense")
    with pytest.raises(ConfigError, match="environment") as error:
        load()
    assert "sk-nonsense" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="no configuration file"):
            load(path)


def test_keys_are_not_shown(tmp_path: Path) -> None:
    settings = load(written(tmp_path, f"[limits]\n{KEYS}\n[llm]\nengine = 'openai'\napi_key = 'sk-2'"))
    assert "sk-1" not in repr(settings)
    assert "sk-2" not in repr(settings)
    assert "sk-2" not in str(settings.llm)
