"""Speech recognition by any server with OpenAI's `POST /audio/transcriptions`."""

import asyncio
import io
import os
import wave
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from voiceagent.asr.base import AsrHint, Transcript
from voiceagent.asr.spoken import SpeechAudio
from voiceagent.audio.pcm import EAR_RATE, Pcm, to_bytes
from voiceagent.errors import ConfigError, EngineError, at_endpoint
from voiceagent.models.store import ModelStore
from voiceagent.section import HeaderName, HeaderSecret, KeySecret

OPENAI = "https://api.openai.com/v1"

SHORTEST = EAR_RATE // 10
"""Samples OpenAI accepts at least: 100 ms."""


def _base_url() -> str:
    return os.environ.get("OPENAI_BASE_URL") or OPENAI


def _api_key() -> SecretStr:
    return SecretStr(os.environ.get("VOICEAGENT_ASR_API_KEY") or os.environ.get("OPENAI_API_KEY") or "")


class OpenAIAsrOptions(BaseModel):
    """Any `/v1/audio/transcriptions` endpoint. Address and key are read when the engine is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    base_url: str = Field(default_factory=_base_url)
    """The endpoint; `OPENAI_BASE_URL` without one."""
    api_key: KeySecret = Field(default_factory=_api_key)
    """The key; `VOICEAGENT_ASR_API_KEY` or `OPENAI_API_KEY` without one."""
    model: str = "whisper-1"
    """The model to ask for."""
    language: str | None = None
    """Holds where the session names none."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    """For one transcription, a second attempt included."""
    headers: dict[HeaderName, HeaderSecret] = Field(default_factory=dict)
    """Sent with each request; taken for secrets."""


class OpenAIAsr:
    """One pool of connections for all utterances. Made in open(), so it belongs to that event loop."""

    Options = OpenAIAsrOptions

    def __init__(self, options: OpenAIAsrOptions, models: ModelStore) -> None:
        """Raises ConfigError for an address that is none, or when OpenAI itself is to be asked without a key."""
        address = urlsplit(options.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError("[asr] base_url: must be an http:// or https:// address")
        if options.base_url.rstrip("/") == OPENAI and not options.api_key.get_secret_value():
            raise ConfigError("[asr] api_key: set OPENAI_API_KEY, or base_url to a server of your own")
        self._options = options
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Connects to nobody yet: a server that is down is found out by the first utterance."""
        options = self._options
        headers = {name: value.get_secret_value() for name, value in options.headers.items()}
        if key := options.api_key.get_secret_value():
            headers = {"Authorization": f"Bearer {key}", **headers}
        self._client = httpx.AsyncClient(headers=headers, timeout=options.timeout_seconds)

    def stream(self, hint: AsrHint) -> "OpenAIStream":
        if self._client is None:
            raise EngineError("asr", "failed", "the recogniser is not open")
        return OpenAIStream(self._client, self._options, hint)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client:
            await client.aclose()


class TranscriptionBody(msgspec.Struct):
    """What is read of the server's answer."""

    text: str
    language: str | None = None


class OpenAIStream:
    """One utterance, sent as a whole when it is finished."""

    def __init__(self, client: httpx.AsyncClient, options: OpenAIAsrOptions, hint: AsrHint) -> None:
        self._client = client
        self._options = options
        self._spoken = SpeechAudio()
        self._known = (0, Transcript(""))
        language = hint.language or options.language
        self._form = {"model": options.model, "response_format": "json"}
        if language:
            self._form["language"] = language.replace("_", "-").split("-")[0].lower()
        if hint.prompt:
            self._form["prompt"] = hint.prompt

    def push(self, pcm: Pcm) -> None:
        self._spoken.push(pcm)

    async def partial(self) -> str:
        """Always '': each guess would be a paid request."""
        return ""

    async def finish(self) -> Transcript:
        """Nothing is asked when there is no speech, nor again when only silence was added since."""
        if self._spoken.samples < SHORTEST or self._spoken.is_silent():
            return Transcript("")
        samples, transcript = self._known
        if not self._spoken.is_covered_by(samples):
            samples = self._spoken.samples
            transcript = await self._transcribe(_wav(self._spoken.audio()))
            self._known = (samples, transcript)
        return transcript

    def close(self) -> None:
        self._spoken = SpeechAudio()

    async def _transcribe(self, wav: bytes) -> Transcript:
        with at_endpoint(urlsplit(self._options.base_url).hostname or ""):
            try:
                async with asyncio.timeout(self._options.timeout_seconds):
                    return _read(await self._post(wav))
            except (TimeoutError, httpx.TimeoutException):
                raise _failed("timeout", "the speech recogniser did not answer in time") from None

    async def _post(self, wav: bytes) -> httpx.Response:
        """A broken connection or a server's own error is tried once more, within the deadline."""
        try:
            response = await self._send(wav)
            if response.status_code < 500:
                return response
        except httpx.TimeoutException:
            raise
        except httpx.HTTPError:
            pass
        try:
            return await self._send(wav)
        except httpx.TimeoutException:
            raise
        except httpx.HTTPError as error:
            raise _failed("unavailable", f"no connection to the speech recogniser: {type(error).__name__}") from None

    async def _send(self, wav: bytes) -> httpx.Response:
        url = self._options.base_url.rstrip("/") + "/audio/transcriptions"
        return await self._client.post(url, data=self._form, files={"file": ("speech.wav", wav, "audio/wav")})


def _read(response: httpx.Response) -> Transcript:
    status = response.status_code
    message = f"the speech recogniser answered {status}"
    match status:
        case 200:
            pass
        case 401 | 403:
            raise _failed("unauthorized", message)
        case 429:
            raise _failed("rate_limited", message)
        case _ if status >= 500:
            raise _failed("unavailable", message)
        case _ if status >= 400:
            raise _failed("bad_request", message)
        case _:
            raise _failed("bad_response", message)
    try:
        answer = msgspec.json.decode(response.content, type=TranscriptionBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _failed("bad_response", "the speech recogniser's answer is not a transcription") from None
    return Transcript(answer.text.strip(), answer.language)


def _failed(code: str, message: str) -> EngineError:
    return EngineError("asr", code, message)


def _wav(pcm: Pcm) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(EAR_RATE)
        file.writeframes(to_bytes(pcm))
    return buffer.getvalue()
