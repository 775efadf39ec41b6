"""What clients really send and models really answer, over a real connection with real engines."""

import asyncio
import json
import logging
from typing import cast

import numpy as np
import pytest

from tests.channels.realtime.test_server import LONG, Client, talking
from tests.support.llm.server import Reply
from tests.support.realtime.wire import Json
from tests.support.speech import EnginesFor, Speak, quiet

pytestmark = pytest.mark.real


class Heard:
    """All events of a connection as they come, the server's own among them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.events: list[Json] = []

    async def until(self, kind: str, count: int = 1) -> Json:
        async with asyncio.timeout(60):
            while len(self.of(kind)) < count:
                self.events.append(json.loads(await self._client.connection.recv_bytes()))
        return self.of(kind)[count - 1]

    async def for_seconds(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.until("never")
        except TimeoutError:
            pass

    def of(self, kind: str) -> list[Json]:
        return [event for event in self.events if event["type"] == kind]

    async def send(self, kind: str, **fields: object) -> None:
        await self._client.connection.send_raw(json.dumps({"type": kind, **fields}))

    async def statuses(self) -> list[str]:
        done = [cast(dict[str, str], event["response"]) for event in self.of("response.done")]
        return [response["status"] for response in done]


async def test_recorded_speech_with_detection_left_on(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, [LONG]) as (client, llm):
        heard = Heard(client)
        spoken = [speak("What is the capital of France?"), quiet(1.5), speak("And of Spain?"), quiet(0.3)]
        await client.say(np.concatenate([quiet(0.3), *spoken]))  # at once, in pieces
        await heard.send("input_audio_buffer.commit")
        await heard.send("response.create")
        await heard.until("response.done")
        await heard.for_seconds(1.0)
        assert await heard.statuses() == ["completed"]
        assert len(heard.of("response.created")) == 1
        asked = " ".join(message["content"] for message in llm.requests[-1].messages)
        assert "France" in asked
        assert "Spain" in asked


async def test_a_client_that_stops_with_its_last_word(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, ["Paris."]) as (client, llm):
        heard = Heard(client)
        await client.say(np.concatenate([quiet(0.3), speak("What is the capital of France?")]), realtime=True)
        await heard.until("input_audio_buffer.speech_stopped")
        await heard.until("response.done")
        assert await heard.statuses() == ["completed"]
        assert "France" in llm.requests[0].messages[-1]["content"]


async def test_a_request_as_soon_as_speech_stops(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, ["Paris is the capital of France."]) as (client, _):
        heard = Heard(client)
        await client.say(np.concatenate([quiet(0.3), speak("What is the capital of France?"), quiet(1.5)]))
        await heard.until("input_audio_buffer.speech_stopped")
        await heard.send("response.create")
        await heard.until("response.done")
        await heard.for_seconds(1.0)
        assert len(heard.of("response.created")) == 1


async def test_an_item_longer_than_the_model_may_see(engines_for: EnginesFor) -> None:
    async with talking(engines_for, ["Yes."]) as (client, _):
        heard = Heard(client)
        content = [{"type": "input_text", "text": "word " * 19_000}]
        item = {"id": "long", "type": "message", "role": "user", "content": content}
        await heard.send("conversation.item.create", item=item)
        await heard.send("response.create", response={"output_modalities": ["text"]})
        warned = await heard.until("voiceagent.warning")
        await heard.until("response.done")
        assert warned["code"] == "item_shortened"
        assert "95000 characters" in str(warned["message"])
        assert len(heard.of("voiceagent.warning")) == 1


async def test_a_wrong_model_name(engines_for: EnginesFor, caplog: pytest.LogCaptureFixture) -> None:
    error = {"error": {"message": "no such model, sk-secret", "code": "model_not_found"}}
    with caplog.at_level(logging.WARNING):
        async with talking(engines_for, [Reply(status=404, error=error)]) as (client, _):
            heard = Heard(client)
            await heard.send("session.update", session={"type": "realtime", "voiceagent": {"events": True}})
            await heard.send("response.create")
            failed = await heard.until("voiceagent.failed")
            assert (failed["stage"], failed["code"]) == ("llm", "bad_request")
            assert "404 (model_not_found)" in str(failed["message"])
            assert failed["endpoint"]
            assert await heard.statuses() == ["failed"]
    lines = [line for line in caplog.messages if ": llm: bad_request: " in line]
    assert len(lines) == 1
    assert "404 (model_not_found)" in lines[0]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("empty", ["😀", "...", "\n"])
async def test_a_model_that_answers_nothing_to_say(engines_for: EnginesFor, empty: str) -> None:
    async with talking(engines_for, [empty, "Here I am."]) as (client, llm):
        heard = Heard(client)
        await heard.send("response.create")
        done = await heard.until("response.output_audio_transcript.done")
        assert done["transcript"] == "Here I am."
        await heard.until("response.done")
        assert await heard.statuses() == ["completed"]
        assert len(llm.requests) == 2


async def test_a_model_that_always_calls(engines_for: EnginesFor) -> None:
    """Tools of which nobody knows, and a cancel in the middle."""
    async with talking(engines_for, [Reply("", calls=[("nothing", "{}")])]) as (client, llm):
        heard = Heard(client)
        await heard.send("response.create")
        async with asyncio.timeout(30):
            while len(llm.requests) < 10:
                await heard.for_seconds(0.2)
        await heard.for_seconds(2.0)
        assert len(llm.requests) == 10  # eight rounds, and a last one that is asked for twice
        assert "tools" not in llm.requests[-1].body
