"""Engines that fail, stall and hang up, over real sockets: the caller hears an apology, the client gets a typed code,
the next turn works. The sessions of a server fail in different ways at the same time."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest

from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak
from tests.support.speech_server import SOUND, Deed, SpeechServer
from tests.support.wire_client import Json, WireClient, client_of
from voiceagent.asr.openai import OpenAIAsr, OpenAIAsrOptions
from voiceagent.engines import Engines
from voiceagent.models.store import ModelStore
from voiceagent.server.settings import AgentSection
from voiceagent.session.settings import DeadlineSection
from voiceagent.settings import Settings
from voiceagent.tts.openai import OpenAITts, OpenAITtsOptions

pytestmark = pytest.mark.real

SHORT = Settings(
    deadlines=DeadlineSection(
        asr_seconds=1.0, llm_first_token_seconds=1.0, llm_next_token_seconds=1.0, tts_seconds=1.0
    ),
    agent=AgentSection(apology="Sorry."),
)
STARTED = "This was said. And this is only the beginning of"

MODELS: dict[str, tuple[Reply, str]] = {
    "500": (Reply(status=500), "llm_unavailable"),
    "401": (Reply(status=401, error={"error": {"message": "bad key sk-123"}}), "llm_unauthorized"),
    "429": (Reply(status=429), "llm_rate_limited"),
    "404": (Reply(status=404), "llm_bad_request"),
    "empty": (Reply(""), "llm_empty"),
    "stall": (Reply("Hello.", stall_after=0), "llm_timeout"),
    "late": (Reply("Hello.", first_token_seconds=9), "llm_timeout"),
    "stall in mid-sentence": (Reply(STARTED, stall_after=8), "llm_timeout"),
    "reset in mid-sentence": (Reply(STARTED, reset_after=8), "llm_unavailable"),
    "nonsense": (Reply(raw=[b"data: nonsense\n\n"]), "llm_bad_response"),
    "html": (Reply(raw=[b"<html>"]), "llm_bad_response"),
}

SPEECH: dict[Deed, str] = {
    "stall": "timeout",
    "half": "timeout",
    "break": "unavailable",
    "deny": "unauthorized",
    "limit": "rate_limited",
    "reset": "unavailable",
    "babble": "bad_response",
}


@asynccontextmanager
async def serving(engines: Engines) -> AsyncIterator[str]:
    try:
        async with running(SHORT, engines) as (_, url):
            yield url
    finally:
        await asyncio.get_running_loop().shutdown_default_executor()  # it read the bundled apology


def failure(response: Json) -> str:
    assert response["status"] == "failed", response
    return str(cast(Json, cast(Json, response["status_details"])["error"])["code"])


def last_words(client: WireClient) -> str:
    return str(client.of("response.output_audio_transcript.done")[-1]["transcript"])


async def next_turn_works(client: WireClient) -> None:
    before = client.audio_bytes()
    response = await client.type("fine", spoken=True)
    assert response["status"] == "completed"
    assert client.audio_bytes() > before
    assert not client.errors()


async def test_a_model_that_fails_is_apologised_for(engines_for: EnginesFor) -> None:
    def script(messages: list[dict[str, str]]) -> Reply | str:
        asked = messages[-1]["content"].splitlines()[-1]
        return "Fine." if asked == "fine" else MODELS[asked][0]

    async def try_out(url: str, name: str) -> None:
        async with client_of(url) as client:
            assert failure(await client.type(name, spoken=True)) == MODELS[name][1], name
            assert "sk-123" not in str(client.events)
            assert last_words(client) == ("This was said. Sorry." if "mid-sentence" in name else "Sorry."), name
            assert client.audio_bytes() > 0.3 * 48_000
            await next_turn_works(client)

    async with ScriptedLlm(script) as llm, serving(engines_for(llm.base_url)) as url:
        await asyncio.gather(*(try_out(url, name) for name in MODELS))


async def test_a_model_that_is_not_there_is_apologised_for(engines_for: EnginesFor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    async with serving(engines_for(nobody)) as url, client_of(url) as client:
        assert failure(await client.type("Hello?", spoken=True)) == "llm_unavailable"
        assert last_words(client) == "Sorry."
        assert client.audio_bytes() > 0.3 * 48_000
        assert failure(await client.type("Hello?")) == "llm_unavailable"  # typed: no apology


async def test_a_voice_that_fails_is_apologised_for(engines_for: EnginesFor, models: ModelStore) -> None:
    """At the first clause and at the second."""

    async def try_out(url: str, deed: Deed, before: str) -> None:
        async with client_of(url) as client:
            response = await client.type(f"{before} Please {deed} now.".strip(), spoken=True)
            assert failure(response) == f"tts_{SPEECH[deed]}", (deed, before)
            assert last_words(client).startswith(before)
            assert last_words(client).endswith("Sorry.")
            assert client.audio_bytes() > (1.4 if before else 0.7) * len(SOUND)
            await next_turn_works(client)

    async with ScriptedLlm(lambda messages: messages[-1]["content"].splitlines()[-1]) as llm, SpeechServer() as server:
        tts = OpenAITts(OpenAITtsOptions(base_url=server.base_url), models)
        async with serving(replace(engines_for(llm.base_url), tts=tts)) as url:
            first = "The first clause is this one here."
            await asyncio.gather(*(try_out(url, deed, before) for deed in SPEECH for before in ("", first)))


async def test_a_voice_that_fails_from_the_start_apologises_in_another(
    engines_for: EnginesFor, models: ModelStore
) -> None:
    async with ScriptedLlm() as llm, SpeechServer(otherwise="break") as server:
        tts = OpenAITts(OpenAITtsOptions(base_url=server.base_url), models)
        async with serving(replace(engines_for(llm.base_url), tts=tts)) as url, client_of(url) as client:
            assert failure(await client.type("Hello?", spoken=True)) == "tts_unavailable"
            assert client.audio_bytes() > 48_000


async def test_a_recogniser_that_fails_is_apologised_for(
    engines_for: EnginesFor, models: ModelStore, speak: Speak
) -> None:
    async def hear(client: WireClient, prompt: str) -> Json:
        transcription = {"model": "any", "prompt": prompt}
        await client.send(
            "session.update", session={"type": "realtime", "audio": {"input": {"transcription": transcription}}}
        )
        count = len(client.of("response.done"))
        await client.turn(speak("What time is it?"))
        return cast(Json, (await client.until("response.done", count + 1))["response"])

    async def try_out(url: str, deed: Deed) -> None:
        async with client_of(url) as client:
            code = f"asr_{SPEECH[deed]}"
            assert failure(await hear(client, f"please {deed}")) == code, deed
            failed = client.of("conversation.item.input_audio_transcription.failed")[0]
            assert cast(Json, failed["error"])["code"] == code
            assert last_words(client) == "Sorry."
            assert client.audio_bytes() > 0.3 * 48_000
            assert (await hear(client, ""))["status"] == "completed"

    async with ScriptedLlm(["Fine."]) as llm, SpeechServer() as server:
        asr = OpenAIAsr(OpenAIAsrOptions(base_url=server.base_url), models)
        async with serving(replace(engines_for(llm.base_url), asr=asr)) as url:
            await asyncio.gather(*(try_out(url, deed) for deed in SPEECH))
        assert len(llm.requests) == len(SPEECH)
        assert {request.messages[-1]["content"] for request in llm.requests} == {"What time is it?"}
