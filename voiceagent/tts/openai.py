"""Speech from any server with OpenAI's `POST /audio/speech`, played as it streams."""

import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Annotated

import httpx
from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr

from voiceagent.errors import ConfigError, EngineError, at_endpoint
from voiceagent.models.store import ModelStore
from voiceagent.section import HeaderName, HeaderSecret, KeySecret, Seconds, WebAddress
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.tts.pcm_stream import PcmStream
from voiceagent.tts.scripts import has_speech
from voiceagent.tts.trim import Trimmer, pause_after
from voiceagent.tts.voices import FOREIGN

OPENAI_URL = "https://api.openai.com/v1"
_MOST_CONNECTIONS = 1_000
_NOT_SAMPLES = ("json", "text/", "mpeg", "mp3", "ogg", "opus", "flac", "aac", "mp4", "webm")


def _base_url() -> str:
    return os.environ.get("OPENAI_BASE_URL") or OPENAI_URL


def _api_key() -> SecretStr:
    return SecretStr(os.environ.get("VOICEAGENT_TTS_API_KEY") or os.environ.get("OPENAI_API_KEY") or "")


class OpenAITtsOptions(BaseModel):
    """Any `/v1/audio/speech` endpoint, streamed. Address and key are read when the engine is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    base_url: WebAddress = Field(default_factory=_base_url)
    """The endpoint; `OPENAI_BASE_URL` without one."""
    api_key: KeySecret = Field(default_factory=_api_key)
    """The key; `VOICEAGENT_TTS_API_KEY` or `OPENAI_API_KEY` without one."""
    model: str = "gpt-4o-mini-tts"
    """The model to ask for."""
    voice: str = "alloy"
    """The voice to ask for."""
    sample_rate: Annotated[int, Field(ge=8000, le=48_000)] = 24_000
    """The server's, in Hz."""
    extra_headers: dict[HeaderName, HeaderSecret] = Field(default_factory=dict)
    """Sent with each request; taken for secrets."""
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    """Added to the request, or over it: `instructions` for example."""
    connect_seconds: Seconds = 5.0
    """For the connection."""
    read_seconds: Seconds = 30.0
    """A backstop behind the session's own deadlines."""
    keepalive_seconds: Seconds = 60.0
    """How long an idle connection is kept."""


class OpenAITts:
    """One pool of connections for all clauses. Made in open(), so it belongs to that event loop."""

    Options = OpenAITtsOptions

    def __init__(self, options: OpenAITtsOptions, models: ModelStore) -> None:
        self._options = options
        self._client: httpx.AsyncClient | None = None

    @property
    def sample_rate(self) -> int:
        return self._options.sample_rate

    languages: tuple[str, ...] = ()

    @property
    def voices(self) -> frozenset[str]:
        """OpenAI's own; those of other servers are not known."""
        return FOREIGN if self._is_openai else frozenset()

    def has_voice(self, voice: str) -> bool:
        return not self.voices or voice in self.voices or voice.startswith("voice_")  # a voice of the customer's

    @property
    def _is_openai(self) -> bool:
        return httpx.URL(self._options.base_url).host == httpx.URL(OPENAI_URL).host

    async def open(self) -> None:
        """Connects to nobody yet. Raises ConfigError when OpenAI itself is to be asked without a key."""
        options = self._options
        key = options.api_key.get_secret_value()
        if not key and self._is_openai:
            raise ConfigError("[tts] api_key is missing: set it or OPENAI_API_KEY, or base_url to a server of your own")
        headers = {name: value.get_secret_value() for name, value in options.extra_headers.items()}
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}", **headers} if key else headers,
            timeout=httpx.Timeout(options.read_seconds, connect=options.connect_seconds, pool=options.connect_seconds),
            limits=httpx.Limits(max_connections=_MOST_CONNECTIONS, keepalive_expiry=options.keepalive_seconds),
        )

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        if not has_speech(request.text):
            return
        stream = PcmStream(self.sample_rate)
        trimmer = Trimmer(self.sample_rate, pause_after(request.text))
        heard = False
        with at_endpoint(httpx.URL(self._options.base_url).host), _as_engine_errors():
            response = await self._send(request)
            try:
                _check(response)
                async with aclosing(_pieces(response)) as pieces:
                    async for piece in pieces:
                        pcm = trimmer.push(stream.push(piece))
                        if len(pcm):
                            heard = True
                            yield TtsAudio(pcm)
            finally:
                await response.aclose()
        if not heard:
            raise _failed("no_sound", "the speech server sent no sound")
        yield TtsAudio(trimmer.finish())

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _send(self, request: TtsRequest) -> httpx.Response:
        """The server's response, its body unread. When a kept connection turns out to be closed, it is asked again."""
        if self._client is None:
            raise _failed("failed", "the speech engine is not open")
        options = self._options
        body: dict[str, JsonValue] = {
            "model": options.model,
            "voice": request.voice or options.voice,
            "input": request.text,
            "response_format": "pcm",
        }
        if request.speed != 1.0:
            body["speed"] = min(4.0, max(0.25, request.speed))
        post = self._client.build_request(
            "POST", f"{options.base_url}/audio/speech", json={**body, **options.extra_body}
        )
        try:
            return await self._client.send(post, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            return await self._client.send(post, stream=True)


async def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for piece in response.aiter_bytes():
        yield piece


def _check(response: httpx.Response) -> None:
    """Raises EngineError unless the response is audio. Its body is not read: it may hold what was to be said."""
    status = response.status_code
    message = f"the speech server answered {status}"
    match status:
        case 200:
            kind = response.headers.get("content-type", "").lower()
            if any(word in kind for word in _NOT_SAMPLES):
                raise _failed(
                    "bad_response", f"the speech server sent {kind.split(';')[0]} where samples were asked for"
                )
        case 401 | 403:
            raise _failed("unauthorized", message)
        case 408 | 504:
            raise _failed("timeout", message)
        case 429:
            raise _failed("rate_limited", message)
        case _ if status >= 500:
            raise _failed("unavailable", message)
        case _ if status >= 400:
            raise _failed("bad_request", message)
        case _:
            raise _failed("bad_response", message)


@contextmanager
def _as_engine_errors() -> Iterator[None]:
    """Turns what goes wrong on the way into EngineError, without httpx's messages: they may hold a header's value."""
    try:
        yield
    except httpx.TimeoutException:
        raise _failed("timeout", "the speech server did not answer in time") from None
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise _failed("unavailable", f"the connection to the speech server failed ({type(error).__name__})") from None
    except ValueError as error:
        raise _failed("bad_response", f"the speech server's audio cannot be used: {error}") from None


def _failed(code: str, message: str) -> EngineError:
    return EngineError("tts", code, message)
