"""Pipecat's and LiveKit's OpenAI Realtime services against the running server. `make test-clients` runs it."""

from pathlib import Path

import pytest

from tests.support.realtime.turns import Told, check, run, save_speech, serving
from tests.support.speech import EnginesFor, Speak
from voiceagent.server.settings import ServerSection

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
PYTHON = HERE.parent.parent / "out" / "clients" / "bin" / "python"


@pytest.mark.parametrize("client", ["pipecat", "livekit"])
async def test_a_framework(engines_for: EnginesFor, speak: Speak, tmp_path: Path, client: str) -> None:
    if not PYTHON.exists():
        pytest.skip("the clients are not installed: make test-clients")
    save_speech(tmp_path, speak)
    async with serving(engines_for, ServerSection()) as (address, llm):
        wanted = {"address": address, "folder": str(tmp_path)}
        told = Told(await run([str(PYTHON), str(HERE / f"{client}_client.py")], HERE, wanted))
        check(told, llm)
        assert {"seen": "tool", "name": "get_weather", "result": "rain in Bonn"} in told.rest
        assert not [line for line in told.rest if "error" in line]
