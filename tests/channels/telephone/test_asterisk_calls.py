"""Calls from a real telephone through a real Asterisk to the running server; see `make test-asterisk`."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import soxr
from websockets.asyncio.client import connect

from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.running import running
from tests.support.speech import RATE as SPEECH_RATE
from tests.support.speech import EnginesFor, Speak
from tests.support.telephone.asterisk_rig import RATE, Asterisk, Telephone, free_port, missing
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.telephone.registry import TelephoneSection
from voiceagent.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=missing())]

SECRET, TOKEN = "asterisk-secret", "s3cret-token"
LONG = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far. "
    "Its gravity makes the tides of the sea. It always shows us the same face."
)
LOUD = 400
"""A sample louder than this was said by somebody."""
STEP = RATE // 50


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name: sockets' paths are limited."""
    made = Path(tempfile.mkdtemp(prefix="ast"))
    yield made
    shutil.rmtree(made)


@asynccontextmanager
async def calls(
    folder: Path, engines_for: EnginesFor, llm: ScriptedLlm, *, by: str = "ami"
) -> AsyncIterator[tuple[Asterisk, Telephone, str]]:
    """Asterisk, a telephone and the server, joined; the server's HTTP address."""
    audiosocket = free_port()
    (folder / "asterisk").mkdir()
    (folder / "phone").mkdir()
    asterisk = Asterisk(folder / "asterisk", free_port(), audiosocket)
    login = {"ami": {"ami_user": "agent", "ami_password": TOKEN}, "ari": {"ari_user": "agent", "ari_password": TOKEN}}
    section = TelephoneSection.model_validate(
        {
            "greeting": "Hello.",
            "destinations": {"sales": "5550001"},
            "asterisk": {
                "secret": SECRET,
                "http": f"http://127.0.0.1:{asterisk.http}",
                "ami_port": asterisk.ami,
                **login[by],
            },
            "audiosocket": {"port": audiosocket},
        }
    )
    async with running(Settings(telephone=section), engines_for(llm.base_url)) as (_, url):
        asterisk._values["server"] = url.rpartition(":")[2]
        async with asterisk.running():
            yield asterisk, Telephone(folder / "phone", asterisk.sip), url.replace("ws", "http", 1)


def on_the_phone(pcm: Pcm) -> Pcm:
    narrow: Pcm = np.rint(soxr.resample(pcm.astype(np.float32), SPEECH_RATE, RATE)).clip(-32768, 32767).astype(np.int16)
    return narrow


def loud(pcm: Pcm) -> list[float]:
    """Seconds at which somebody speaks."""
    steps = np.abs(pcm[: len(pcm) // STEP * STEP].reshape(-1, STEP)).max(axis=1)
    return [float(step) / 50 for step in np.flatnonzero(steps > LOUD)]


def barged_in(telephone: Telephone, at: float) -> float:
    """How many seconds the agent was heard on after the caller began to speak, at this second of the microphone's
    file. There is nothing in the recording of the earpiece where nothing came."""
    began = telephone.said_at(int(RATE * next(second for second in loud(telephone.said()) if second >= at)))
    heard = [telephone.heard_at(int(RATE * second)) for second in loud(telephone.heard())]
    return max(moment for moment in heard if moment < began + 1.0) - began


def calling(name: str, arguments: str) -> Reply:
    return Reply(calls=[(name, arguments)], finish_reason="tool_calls")


def microphone(*said: Pcm, every: float) -> Pcm:
    """Each of these after so many seconds from the one before."""
    pieces: list[Pcm] = []
    for piece in said:
        pieces += [silence(int(every * RATE) - len(pieces[-1]) if pieces else int(2 * RATE)), piece]
    return np.concatenate([*pieces, silence(60 * RATE)])


def answer(messages: list[dict[str, str]]) -> Reply | str:
    """By what was said last: a turn may be asked for more than once before it is over."""
    last = messages[-1]["content"].lower()
    if "[keypad" in last:
        return calling("end_call", "{}")
    return "The sun is a star." if "sun" in last else LONG


def asked(llm: ScriptedLlm, words: str) -> list[list[dict[str, str]]]:
    """The requests so far whose last message has these words."""
    return [one.messages for one in llm.requests if words in one.messages[-1]["content"].lower()]


@pytest.mark.parametrize("extension", ["100", "101", "200", "201"])
async def test_a_turn_a_barge_in_keys_and_a_hang_up(
    folder: Path, engines_for: EnginesFor, speak: Speak, extension: str
) -> None:
    question = on_the_phone(speak("Tell me about the moon."))
    stop = on_the_phone(speak("Please tell me about the sun instead."))
    said = microphone(question, stop, every=7.0)
    async with ScriptedLlm(answer) as llm, calls(folder, engines_for, llm) as (_, telephone, _):
        async with telephone.calling(extension, said):
            await telephone.when(lambda: asked(llm, "moon"))
            await telephone.when(lambda: asked(llm, "sun"))
            told = asked(llm, "sun")[-1]
            words = [one["content"].strip() for one in told if one["role"] == "assistant"][-1]
            assert LONG.startswith(words)
            assert 0 < len(words) < len(LONG) / 1.5
            before = len(telephone.heard())
            await telephone.when(lambda: len(telephone.heard()) > before + RATE // 2)
            await telephone.press("42#")
            await telephone.when(lambda: asked(llm, "[keypad: 42]"))
            await telephone.until("CALL_CLOSED")
        late = barged_in(telephone, 2.0 + 7.0)
        print(f"extension {extension}: barge-in heard after {1000 * late:.0f} ms")
        assert late <= 0.3


TRANSFER = calling("transfer_call", '{"destination": "sales"}')


def hears_the_tone(telephone: Telephone) -> bool:
    """1004 Hz, and nothing else."""
    end = telephone.heard()[-RATE // 2 :].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(end)) ** 2
    return len(end) == RATE // 2 and bool(spectrum[500:504].sum() > 0.9 * spectrum.sum() > 0)


@pytest.mark.parametrize("extension", ["100", "101"])
async def test_a_transfer_by_the_manager(folder: Path, engines_for: EnginesFor, extension: str) -> None:
    async with (
        ScriptedLlm([TRANSFER]) as llm,
        calls(folder, engines_for, llm) as (_, telephone, _),
        telephone.calling(extension, silence(60 * RATE)),
    ):
        await telephone.when(lambda: len(loud(telephone.heard())) > 10)
        await telephone.press("1#")
        await telephone.when(lambda: hears_the_tone(telephone))


async def test_we_connect_to_asterisk_and_transfer_by_its_rest_interface(folder: Path, engines_for: EnginesFor) -> None:
    async with (
        ScriptedLlm([TRANSFER]) as llm,
        calls(folder, engines_for, llm, by="ari") as (asterisk, telephone, server),
        httpx.AsyncClient(auth=("agent", TOKEN), base_url=f"http://127.0.0.1:{asterisk.http}/ari") as ari,
        stasis(asterisk) as begun,
        telephone.calling("300", silence(60 * RATE)),
    ):
        async with asyncio.timeout(20):
            caller = await begun
        media = await ari.post(
            "/channels/externalMedia",
            params={
                "app": "agent",
                "external_host": "INCOMING",
                "transport": "websocket",
                "encapsulation": "none",
                "connection_type": "server",
                "format": "ulaw",
                "transport_data": "f(json)",
            },
        )
        named = media.json()["channelvars"]["MEDIA_WEBSOCKET_CONNECTION_ID"]
        wanted = {"connection_id": named, "channel": caller, "parameters": {"tenant": "acme"}}
        async with httpx.AsyncClient() as client:
            refused = await client.post(f"{server}/asterisk/dial", json=wanted)
            assert refused.status_code == 403
            answer = await client.post(f"{server}/asterisk/dial", json=wanted, params={"key": SECRET})
            assert answer.status_code == 202, answer.text
            again = await client.post(
                f"{server}/asterisk/dial", json={"connection_id": "no-such-id"}, params={"key": SECRET}
            )
            assert again.status_code == 502
        bridge = (await ari.post("/bridges")).json()["id"]
        joined = await ari.post(f"/bridges/{bridge}/addChannel", params={"channel": f"{caller},{media.json()['id']}"})
        assert joined.is_success, joined.text
        await telephone.when(lambda: len(loud(telephone.heard())) > 10)
        await telephone.press("1#")
        await telephone.when(lambda: hears_the_tone(telephone))


@asynccontextmanager
async def stasis(asterisk: Asterisk) -> "AsyncIterator[asyncio.Future[str]]":
    """The application: it exists while somebody listens to its events. The id of the first channel that comes in."""
    begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        async for text in events:
            event = json.loads(text)
            if event["type"] == "StasisStart" and not begun.done():
                begun.set_result(event["channel"]["id"])

    url = f"ws://127.0.0.1:{asterisk.http}/ari/events?app=agent&api_key=agent:{TOKEN}"
    async with connect(url, proxy=None) as events:
        listening = asyncio.create_task(listen(), name="ari events")
        try:
            yield begun
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
