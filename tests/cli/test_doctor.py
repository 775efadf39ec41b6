"""The doctor, on real configurations of this machine."""

import io
import socket
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.console import Console

from voiceagent.cli.doctor import Check, report, show
from voiceagent.models.store import ModelStore
from voiceagent.section import EngineSection
from voiceagent.server.settings import ApiKey, LimitSection, ServerSection
from voiceagent.settings import MemorySection, Settings
from voiceagent.tts.settings import TtsSection

KEY = "sk-very-secret-0123456789"


def check(what: str, settings: Settings, tmp_path: Path) -> Check:
    """The doctor's finding on one thing."""
    return next(found for found in report(settings, ModelStore(tmp_path / "models")) if found.what == what)


def server(**options: object) -> Settings:
    return Settings(server=ServerSection.model_validate({"port": 0, **options}))


def test_a_fresh_machine_is_told_to_fetch_its_models(tmp_path: Path) -> None:
    found = check("model silero-vad", server(), tmp_path)
    assert (found.state, found.ok) == ("wrong", False)
    assert found.mend == f"voiceagent models fetch --dir {tmp_path}/models silero-vad"


def test_fetched_models_are_good(models: ModelStore) -> None:
    found = {check.what: check.state for check in report(server(), models)}
    assert found["model silero-vad"] == found["model moonshine-tiny-en"] == found["packages"] == "good"


def test_models_of_engines_that_are_not_configured_are_not_asked_for(tmp_path: Path) -> None:
    settings = Settings(
        server=ServerSection(port=0), llm=EngineSection(engine="openai"), asr=EngineSection(engine="openai")
    )
    whats = [found.what for found in report(settings, ModelStore(tmp_path)) if found.what.startswith("model")]
    assert whats == ["model silero-vad"]


def test_an_unknown_engine_and_an_unknown_option_are_wrong(tmp_path: Path) -> None:
    settings = Settings(
        vad=EngineSection.model_validate({"engine": "silero", "no_such_option": 1}), tts=TtsSection(engine="parrot")
    )
    found = check("engine [vad]", settings, tmp_path)
    assert (found.state, "no_such_option" in found.detail) == ("wrong", True)
    found = check("engine [tts]", settings, tmp_path)
    assert (found.state, "'parrot' is not installed" in found.detail) == ("wrong", True)


def test_a_port_in_use_is_wrong(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        found = check(f"port {port}", server(port=port), tmp_path)
    assert (found.state, "in use" in found.detail) == ("wrong", True)
    assert check(f"port {port}", server(port=port), tmp_path).state == "good"


@pytest.mark.parametrize("host", ["no such host", "203.0.113.7"])
def test_an_address_of_another_machine_is_wrong(host: str, tmp_path: Path) -> None:
    assert check("port 0", server(host=host), tmp_path).state == "wrong"


def test_tls_files_are_tried(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    assert "cannot be read" in check("TLS", server(tls_cert=cert, tls_key=key), tmp_path).detail
    for path in (cert, key):
        path.write_text("not a certificate")
    assert "are not a certificate" in check("TLS", server(tls_cert=cert, tls_key=key), tmp_path).detail
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "9"]
    subprocess.run([*made, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=60)
    assert check("TLS", server(tls_cert=cert, tls_key=key), tmp_path).state == "good"


def test_memory_files_are_tried(tmp_path: Path) -> None:
    def found(path: Path | str) -> Check:
        return check("memory", Settings(memory=MemorySection(path=str(path))), tmp_path)

    assert found("").state == found(tmp_path / "记忆.db").state == "good"
    assert found(tmp_path / "missing" / "memory.db").mend == f"mkdir -p {tmp_path}/missing"
    (tmp_path / "letter.txt").write_text("Dear all, this is no database.")
    assert found(tmp_path / "letter.txt").state == found(tmp_path).state == "wrong"
    assert found("redis://:word@host/0").detail.startswith("redis://host/0")


@pytest.mark.parametrize(("host", "state"), [("0.0.0.0", "warning"), ("::", "warning"), ("127.0.0.1", "good")])
def test_a_public_address_without_keys_is_a_warning(host: str, state: str, tmp_path: Path) -> None:
    found = check("API keys", server(host=host), tmp_path)
    assert (found.state, found.ok) == (state, True)


def test_no_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    endpoint = {"base_url": f"http://me:{KEY}@host/v1", "api_key": KEY}
    settings = Settings(
        server=ServerSection(host="0.0.0.0", port=0),
        limits=LimitSection(api_keys=(ApiKey(name="a", key=SecretStr(KEY)),)),
        llm=EngineSection.model_validate({"engine": KEY, **endpoint}),
        asr=EngineSection.model_validate({"engine": "sherpa", f"sk{KEY}": KEY, "headers": {"x": "sk-in-a-header"}}),
    )
    written = io.StringIO()
    show(report(settings, ModelStore(tmp_path / "sk-from-the-environment")), Console(file=written, width=1000))
    assert "***" in written.getvalue()
    for secret in (KEY, "sk-from-the-environment", "sk-in-a-header"):
        assert secret not in written.getvalue()


def test_section_names_survive_the_table() -> None:
    written = io.StringIO()
    show([Check("engine [asr]", "wrong", "[asr] model: bad", "correct [asr]")], Console(file=written, width=200))
    assert "engine [asr]" in written.getvalue()
    assert "[asr] model: bad" in written.getvalue()
