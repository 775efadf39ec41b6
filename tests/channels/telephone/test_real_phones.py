"""What telephones really send, over real sockets: audio before the call begins, one-way streams, another codec each
way, an Asterisk that hangs up on pings, speech around keyed digits."""

import asyncio
import base64
import json
import logging
from contextlib import suppress

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.typing import Subprotocol

from tests.channels.telephone.test_server import on_the_phone, telephone
from tests.support.llm.server import ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak
from tests.support.telephone.systems.vendors import ORGANIZATION, Other
from tests.support.telephone.twilio import twilio_call
from tests.support.telephone.vendors import STARTS, Vendor
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.base import Frame
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.registry import TelephoneSection
from voiceagent.settings import Settings

pytestmark = pytest.mark.real

EARLY = [
    "twilio",
    "signalwire",
    "telnyx",
    "plivo",
    "exotel",
    "jambonz",
    "vonage",
    "genesys",
    "asterisk",
    "asterisk-json",
]
PACKET = 160


def packets(pcm: Pcm) -> list[Pcm]:
    return [pcm[start : start + PACKET] for start in range(0, len(pcm) // PACKET * PACKET, PACKET)]


def vendor_end(name: str) -> tuple[Vendor | Other, list[Frame], list[Frame]]:
    """A vendor, what it sends first, and what begins the call."""
    if name in STARTS:
        vendor = Vendor(name)
        return vendor, vendor.connected(), [vendor.start()]
    other = Other(name)
    return other, [], other.start()


async def connected(url: str, name: str) -> ClientConnection:
    headers = {"Audiohook-Organization-Id": ORGANIZATION}
    protocols = [Subprotocol("media")] if name.startswith("asterisk") else None
    address = f"{url}/{name.partition('-')[0]}"
    return await connect(address, additional_headers=headers, subprotocols=protocols, max_size=None)


@pytest.mark.parametrize("name", EARLY)
async def test_audio_before_the_call_is_kept_and_heard(engines_for: EnginesFor, speak: Speak, name: str) -> None:
    """The whole question comes before the message that begins the call; only silence follows."""
    question = np.concatenate((silence(800), on_the_phone(speak("Tell me about the moon.")), silence(1600)))
    async with (
        ScriptedLlm(["It is round."]) as llm,
        running(Settings(), engines_for(llm.base_url)) as (_, url),
        await connected(url, name) as call,
    ):
        vendor, before, begin = vendor_end(name)
        for frame in (*before, *map(vendor.media, packets(question)), *begin):
            await call.send(frame)

        async def quiet() -> None:
            with suppress(ConnectionClosed):
                while True:
                    await call.send(vendor.media(silence(PACKET)))
                    await asyncio.sleep(0.02)

        line = asyncio.create_task(quiet())
        await llm.requested(1)
        line.cancel()
        assert "moon" in llm.requests[0].messages[-1]["content"].lower()


async def test_without_a_call_early_audio_is_bounded_and_let_go(engines_for: EnginesFor) -> None:
    async with running(Settings(), engines_for("http://127.0.0.1:9")) as (voice, url):
        async with asyncio.timeout(30), await connected(url, "asterisk") as call:
            for _ in range(200):
                await call.send(bytes(60_000))
            with pytest.raises(ConnectionClosed) as closed:
                await call.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        assert voice.admission.sessions == 0


async def test_asterisk_is_sent_no_pings(engines_for: EnginesFor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pings every 0.2 s everybody gets some, but Asterisk none."""
    monkeypatch.setattr("voiceagent.server.serve.PING_SECONDS", 0.2)
    async with running(Settings(), engines_for("http://127.0.0.1:9")) as (_, url):
        for name, expected in (("twilio", True), ("asterisk", False), ("asterisk-json", False)):
            async with await connected(url, name) as call:
                pings: list[object] = []
                take = call.protocol.recv_frame

                def watch(frame: object, take: object = take, pings: list[object] = pings) -> None:
                    if getattr(frame, "opcode", None) is Opcode.PING:
                        pings.append(frame)
                    take(frame)  # type: ignore[operator]

                call.protocol.recv_frame = watch  # type: ignore[method-assign]
                _, before, begin = vendor_end(name)
                for frame in (*before, *begin):
                    await call.send(frame)
                await asyncio.sleep(1.0)
                assert bool(pings) == expected, name


@pytest.mark.parametrize(
    ("settings", "asked_for", "sent"),
    [
        ({}, {}, LineFormat("ulaw")),
        ({"codec": "PCMA"}, {}, LineFormat("alaw")),
        ({"codec": "L16", "rate": 16_000}, {}, LineFormat("l16", 16_000)),
        ({}, {"stream_bidirectional_codec": "PCMA"}, LineFormat("alaw")),
        (
            {},
            {"stream_bidirectional_codec": "L16", "stream_bidirectional_sampling_rate": 24000},
            LineFormat("l16", 24_000),
        ),
    ],
)
@pytest.mark.parametrize(("comes", "rate"), [("PCMA", 8000), ("PCMU", 8000), ("L16", 16_000)])
async def test_telnyx_is_sent_what_its_stream_asked_for(
    engines_for: EnginesFor,
    settings: dict[str, object],
    asked_for: dict[str, object],
    sent: LineFormat,
    comes: str,
    rate: int,
) -> None:
    start = json.loads(json.dumps(STARTS["telnyx"]))
    start["start"]["media_format"] = {"encoding": comes, "sample_rate": rate, "channels": 1}
    start["start"]["custom_parameters"] = asked_for
    section = TelephoneSection.model_validate({"greeting": "Hello there, how are you?", "telnyx": settings})
    async with (
        running(Settings(telephone=section), engines_for("http://127.0.0.1:9")) as (_, url),
        connect(f"{url}/telnyx") as call,
    ):
        await call.send(json.dumps(start))
        heard: list[Pcm] = []
        async with asyncio.timeout(20):
            while sum(map(len, heard)) < 0.5 * sent.rate:
                message = json.loads(await call.recv())
                if message["event"] == "media":
                    heard.append(sent.decode(base64.b64decode(message["media"]["payload"])))
        voice = np.concatenate(heard).astype(float)
        spectrum = np.abs(np.fft.rfft(voice)) ** 2
        low = spectrum[: len(spectrum) * 2000 * 2 // sent.rate].sum()
        assert low > 0.75 * spectrum.sum(), "a voice, and no noise of a codec taken for another"


async def test_a_one_way_stream_is_told_to_the_operator_once(
    engines_for: EnginesFor, caplog: pytest.LogCaptureFixture
) -> None:
    """`<Start><Stream>`: what we send is thrown away, and so no mark comes back."""
    caplog.set_level(logging.WARNING)
    settings = Settings.model_validate(
        {"telephone": {"greeting": "Hello."}, "admin": {"key": "an-admin-key-that-is-long"}}
    )
    async with running(settings, engines_for("http://127.0.0.1:9")) as (voice, url), connect(f"{url}/twilio") as call:
        vendor, before, begin = vendor_end("twilio")
        for frame in (*before, *begin):
            await call.send(frame)
        for _ in range(400):
            await call.send(vendor.media(silence(PACKET)))
            await asyncio.sleep(0.02)
            if voice.metrics.warned():
                break
        assert voice.board is not None
        assert voice.board.snapshot().warnings == {"one_way_stream": 1}
        [said] = [record.getMessage() for record in caplog.records if "one_way_stream" in record.getMessage()]
        assert said.startswith("session sess_")
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"{url.replace('ws', 'http', 1)}/metrics")).text
        assert 'voiceagent_warnings_total{code="one_way_stream"} 1.0' in metrics


@pytest.mark.parametrize("tracks", [["outbound"], ["inbound", "outbound"]])
async def test_a_listening_stream_is_told_at_once(engines_for: EnginesFor, tracks: list[str]) -> None:
    async with running(Settings(), engines_for("http://127.0.0.1:9")) as (voice, url), connect(f"{url}/twilio") as call:
        start = json.loads(json.dumps(STARTS["twilio"]))
        start["start"]["tracks"] = tracks
        await call.send(json.dumps(start))
        for _ in range(500):
            await asyncio.sleep(0.02)
            if voice.metrics.warned():
                return
        pytest.fail("the operator was not told")


async def test_digits_come_before_the_words_that_follow_them(engines_for: EnginesFor, speak: Speak) -> None:
    async with (
        ScriptedLlm(["Thank you."]) as llm,
        running(telephone(key_seconds=20.0), engines_for(llm.base_url)) as (_, url),
        twilio_call(f"{url}/twilio", auth_token="s3cret-token") as twilio,
    ):
        await twilio.press("42")
        await twilio.say(on_the_phone(speak("That is my customer number.")))
        await llm.requested(1)
        await twilio.until_silent()
        said = " ".join(message["content"] for message in llm.requests[-1].messages if message["role"] == "user")
        assert said.startswith("[keypad: 42]")
        assert "number" in said.lower()
