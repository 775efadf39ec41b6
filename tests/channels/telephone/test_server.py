"""Telephone calls to the running server: the simulated Twilio, real sockets, real engines, real speech."""

import asyncio

import numpy as np
import pytest
import soxr
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.running import running
from tests.support.speech import RATE, EnginesFor, Speak
from tests.support.telephone.hostile import cases
from tests.support.telephone.rest import Asked, VendorRest
from tests.support.telephone.twilio import SimulatedTwilio, twilio_call
from tests.support.telephone.vendors import Vendor
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.telephone.registry import TelephoneSection
from voiceagent.channels.telephone.vendors.twilio import TwilioSection
from voiceagent.settings import Settings

pytestmark = pytest.mark.real

TOKEN = "s3cret-token"
LONG = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far. "
    "Its gravity makes the tides of the sea. It always shows us the same face."
)


def on_the_phone(pcm: Pcm) -> Pcm:
    narrow: Pcm = np.rint(soxr.resample(pcm.astype(np.float32), RATE, 8000)).clip(-32768, 32767).astype(np.int16)
    return narrow


def calling(name: str, arguments: str) -> Reply:
    """A model that only calls a tool."""
    return Reply(calls=[(name, arguments)], finish_reason="tool_calls")


def telephone(rest: VendorRest | None = None, **more: object) -> Settings:
    twilio = TwilioSection(auth_token=SecretStr(TOKEN))
    if rest is not None:
        twilio = TwilioSection(account_sid="AC1", auth_token=SecretStr(TOKEN), api_base=rest.url)
    return Settings(telephone=TelephoneSection.model_validate({"twilio": twilio, **more}))


async def heard_something(twilio: SimulatedTwilio, seconds: float) -> None:
    await twilio.until(lambda: twilio.played_seconds > seconds)


async def test_a_turn_by_voice_and_a_barge_in(engines_for: EnginesFor, speak: Speak) -> None:
    question = on_the_phone(speak("Tell me about the moon."))
    stop = on_the_phone(speak("Stop. Tell me about the sun."))
    async with (
        ScriptedLlm([LONG, "The sun is a star."]) as llm,
        running(telephone(), engines_for(llm.base_url)) as (_, url),
        twilio_call(f"{url}/twilio", auth_token=TOKEN) as twilio,
    ):
        await twilio.say(question)
        await heard_something(twilio, 1.2)
        assert "moon" in llm.requests[0].messages[-1]["content"].lower()
        await twilio.say(stop)
        await twilio.until(lambda: twilio.cleared_at)
        heard = twilio.played_seconds
        await llm.requested(2)
        told = llm.requests[-1].messages
        assert "sun" in told[-1]["content"].lower()
        said = next(message["content"] for message in told if message["role"] == "assistant").strip()
        assert LONG.startswith(said)
        assert len(said) < len(LONG) / 2
        assert twilio.received / 8000 < heard + 0.5, "little more was sent than was played"
        await twilio.until(lambda: twilio.played_seconds > heard + 0.5)
        await twilio.hang_up()
        await twilio.over.wait()


async def test_keys_and_a_call_that_the_agent_ends(engines_for: EnginesFor) -> None:
    async with (
        VendorRest() as rest,
        ScriptedLlm([calling("end_call", '{"reason": "done"}')]) as llm,
        running(telephone(rest, greeting="Key in your number."), engines_for(llm.base_url)) as (_, url),
        twilio_call(f"{url}/twilio", auth_token=TOKEN) as twilio,
    ):
        await heard_something(twilio, 0.3)
        await twilio.press("4")
        await twilio.until(lambda: twilio.cleared_at)
        await twilio.press("2#")
        await llm.requested(1)
        assert llm.requests[0].messages[-1]["content"] == "[keypad: 42]"
        asked = await rest.until_asked()
        assert asked == Asked("POST", "/2010-04-01/Accounts/AC1/Calls/CA1.json", {"Status": "completed"})
        await twilio.over.wait()


async def test_a_transfer_that_is_refused_and_one_that_is_not(engines_for: EnginesFor) -> None:
    transfer = calling("transfer_call", '{"destination": "sales"}')
    async with (
        VendorRest() as rest,
        ScriptedLlm([transfer, "Nobody is there.", transfer]) as llm,
        running(telephone(rest, destinations={"sales": "+15550001"}), engines_for(llm.base_url)) as (_, url),
        twilio_call(f"{url}/twilio", auth_token=TOKEN) as twilio,
    ):
        rest.status = 404
        await twilio.press("1#")
        await rest.until_asked()
        await llm.requested(2)
        assert "failed: twilio refused it (404)" in str(llm.requests[1].messages[-1])
        assert TOKEN not in str(llm.requests[1].body)
        await heard_something(twilio, 0.3)
        rest.status = None
        await twilio.press("2#")
        asked = await rest.until_asked(2)
        assert "<Number>+15550001</Number>" in str(asked.body["Twiml"])
        await twilio.over.wait()


async def close_code(url: str, *frames: str | bytes) -> int:
    """How the server ends a connection on which these are sent."""
    async with asyncio.timeout(20), connect(url, max_size=None) as connection:
        try:
            for frame in frames:
                await connection.send(frame)
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


@pytest.mark.parametrize("vendor", ["twilio", "jambonz"])
async def test_hostile_clients_are_closed_and_disturb_no_call(engines_for: EnginesFor, vendor: str) -> None:
    settings = Settings(telephone=TelephoneSection(greeting="Good morning, this is the telephone of the agent."))
    async with (
        ScriptedLlm(["Hello."]) as llm,
        running(settings, engines_for(llm.base_url)) as (voice, url),
        twilio_call(f"{url}/twilio") as other,
    ):
        await heard_something(other, 0.2)
        for name, frame, code in cases(vendor):
            if code is not None:
                assert await close_code(f"{url}/{vendor}", frame) == code, name
        flood = ["{"] * 40
        begin = [*Vendor(vendor).connected(), Vendor(vendor).start()]
        assert await close_code(f"{url}/{vendor}", *begin, *flood) == 1007
        await other.until_silent()
        assert other.played_seconds > 2.0
        assert not other.over.is_set()
        await other.press("1#")
        await llm.requested(1)
        assert voice.admission.sessions == 1
    await asyncio.get_running_loop().shutdown_default_executor()  # large messages are parsed in its threads


async def test_lost_media_in_a_call(engines_for: EnginesFor, speak: Speak) -> None:
    """The caller's packets stop in the middle of a turn, which ends all the same."""
    async with (
        ScriptedLlm(["I heard you."]) as llm,
        running(telephone(), engines_for(llm.base_url)) as (_, url),
        twilio_call(f"{url}/twilio", auth_token=TOKEN) as twilio,
    ):
        await twilio.say(np.concatenate((silence(800), on_the_phone(speak("What time is it?")))))
        twilio.lost = True
        await llm.requested(1)
        assert "time" in llm.requests[0].messages[-1]["content"].lower()
        await heard_something(twilio, 0.3)
