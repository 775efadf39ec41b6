"""OpenAI's clients for Node.js against the running server: voice, text, tool and barge-in turns."""

import shutil
import subprocess
from pathlib import Path
from typing import cast

import pytest

from tests.node.packages import install
from tests.support.realtime.turns import Told, check, run, save_speech, serving
from tests.support.realtime.wire import Json
from tests.support.speech import EnginesFor, Speak
from voiceagent.server.settings import ServerSection

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine that nobody but the test trusts, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl for a certificate")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def said(tmp_path: Path, speak: Speak) -> Path:
    save_speech(tmp_path, speak)
    return tmp_path


async def test_the_openai_package_over_tls(engines_for: EnginesFor, said: Path, certificate: tuple[Path, Path]) -> None:
    folder = install()
    chain, key = certificate
    async with serving(engines_for, ServerSection(tls_cert=chain, tls_key=key)) as (address, llm):
        wanted = {"url": f"https://{address}", "key": "none", "folder": str(said)}
        told = Told(await run(["node", "openai.mjs"], folder, wanted, NODE_EXTRA_CA_CERTS=str(chain)))
        check(told, llm)
        assert not told.rest


async def test_the_agents_package(engines_for: EnginesFor, said: Path) -> None:
    folder = install()
    async with serving(engines_for, ServerSection()) as (address, llm):
        wanted = {"url": f"ws://{address}", "key": "none", "folder": str(said)}
        told = Told(await run(["node", "agents.mjs"], folder, wanted))
        check(told, llm)
        seen = [line for line in told.rest if "history" not in line]
        assert seen == [{"seen": "tool", "name": "get_weather", "result": "rain in Bonn"}, {"seen": "interrupted"}]
        (history,) = [cast(list[Json], line["history"]) for line in told.rest if "history" in line]
        kinds = [item["role"] if item["type"] == "message" else item["type"] for item in history]
        assert kinds == [
            *("user", "assistant", "user", "assistant", "user", "function_call", "assistant"),
            *("user", "assistant", "user", "assistant"),
        ]
