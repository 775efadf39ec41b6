"""Microsoft's voices, in many languages, through the service with which its browser reads pages aloud.

It wants no key and promises nothing: fit for trials, with a licensed voice behind another engine for production.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

import numpy as np
from edge_tts.constants import BASE_URL
from pydantic import BaseModel, ConfigDict, Field
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from voiceagent.audio.pcm import Pcm
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.section import Seconds
from voiceagent.tts.base import TtsAudio, TtsRequest, WordTiming
from voiceagent.tts.edge_tts import wire as edge_wire
from voiceagent.tts.mp3 import Mp3Decoder
from voiceagent.tts.scripts import has_speech
from voiceagent.tts.trim import Trimmer, pause_after
from voiceagent.tts.voices import language_of, requested

VOICES = {
    "ar": "ar-EG-SalmaNeural",
    "de": "de-DE-KatjaNeural",
    "el": "el-GR-AthinaNeural",
    "en": "en-US-EmmaMultilingualNeural",
    "en-GB": "en-GB-SoniaNeural",
    "es": "es-ES-ElviraNeural",
    "fr": "fr-FR-DeniseNeural",
    "he": "he-IL-HilaNeural",
    "hi": "hi-IN-SwaraNeural",
    "id": "id-ID-GadisNeural",
    "it": "it-IT-ElsaNeural",
    "ja": "ja-JP-NanamiNeural",
    "ko": "ko-KR-SunHiNeural",
    "nl": "nl-NL-ColetteNeural",
    "pl": "pl-PL-ZofiaNeural",
    "pt": "pt-BR-FranciscaNeural",
    "ru": "ru-RU-SvetlanaNeural",
    "th": "th-TH-PremwadeeNeural",
    "tr": "tr-TR-EmelNeural",
    "vi": "vi-VN-HoaiMyNeural",
    "yue": "zh-HK-HiuMaanNeural",
    "zh": "zh-CN-XiaoxiaoNeural",
    "zh-HK": "zh-HK-HiuMaanNeural",
    "zh-TW": "zh-TW-HsiaoChenNeural",
}
"""A voice for each language, by ISO 639-1 or BCP 47."""

_SLICE = 4096  # bytes of MP3 decoded at once: 0.7 s of speech, under 2 ms
_MOST_MESSAGE = 1 << 20


class EdgeTtsOptions(BaseModel):
    """Microsoft's online voices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voice: str | None = None
    """Speaks every language, if set."""
    language: str | None = None
    """Chooses the voice; else what the text is written in does."""
    voices: dict[str, str] = Field(default_factory=dict)
    """Voices by language, over the built-in table."""
    proxy: str | None = None
    """An http:// or socks5:// address; the environment's without one."""
    base_url: str = f"wss://{BASE_URL}/edge/v1"
    """For relays of the service."""
    connect_seconds: Seconds = 5.0
    """For the connection."""


class EdgeTts:
    """One connection a clause, as the service's own client does. Holds nothing between clauses."""

    Options = EdgeTtsOptions
    sample_rate = edge_wire.SAMPLE_RATE

    def __init__(self, options: EdgeTtsOptions, models: ModelStore) -> None:
        self._options = options
        self._voices = {**VOICES, **options.voices}

    voices: tuple[str, ...] = ()

    @property
    def languages(self) -> frozenset[str]:
        """Those of its table, or of the one voice that is set; a multilingual voice speaks any."""
        voice = self._options.voice
        if voice is not None:
            return frozenset() if "Multilingual" in voice else frozenset([voice.split("-")[0]])
        return frozenset(name.split("-")[0].lower() for name in self._voices)

    def has_voice(self, voice: str) -> bool:
        """By its form; which of them there are only the service knows."""
        return requested(voice) is None or edge_wire.is_voice(voice)

    async def open(self) -> None:
        """Checks the configuration; connects to nobody yet."""
        options = self._options
        if urlsplit(options.base_url).scheme not in ("ws", "wss"):
            raise ConfigError("[tts] base_url: must be a ws:// or wss:// address")
        for voice in (*options.voices.values(), *filter(None, [options.voice])):
            try:
                edge_wire.manner(voice, 1.0)
            except ValueError:
                raise ConfigError(f"[tts] voice = {voice!r}: must be like en-US-AriaNeural") from None

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        if not has_speech(request.text):
            return
        try:
            manner = edge_wire.manner(self._voice_of(request), min(2.0, max(0.5, request.speed)))
            configuration, ssml = edge_wire.request(request.text, manner)
        except ValueError:
            raise _failed("bad_request", "the voice is not one of the service's, or the text is too long") from None
        speech = _EdgeSpeech(pause_after(request.text))
        try:
            async with self._connection() as connection:
                await connection.send(configuration)
                await connection.send(ssml)
                while True:
                    match edge_wire.read(await connection.recv()):
                        case edge_wire.WordBoundaries(words):
                            speech.words += words
                        case edge_wire.Mp3(data):
                            for start in range(0, len(data), _SLICE):
                                if audio := speech.push(data[start : start + _SLICE]):
                                    yield audio
                        case edge_wire.TurnEnd():
                            yield speech.finish()
                            return
        except ConnectionClosed as error:
            refused = error.rcvd is not None and error.rcvd.code == 1007  # how it answers a voice it does not have
            raise _failed("bad_request" if refused else "unavailable", "the speech service broke off") from None
        except ValueError as error:
            raise _failed("bad_response", f"the speech service's answer is not understood: {error}") from None

    async def close(self) -> None:
        pass

    def _voice_of(self, request: TtsRequest) -> str:
        if voice := requested(request.voice) or self._options.voice:
            return voice
        language = language_of(request.text, request.language or self._options.language) or "en"
        known = {name.lower(): voice for name, voice in self._voices.items()}
        name = language.replace("_", "-").lower()
        return known.get(name) or known.get(name.split("-")[0]) or self._voices["en"]

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[ClientConnection, None]:
        connection = await self._connect()
        try:
            yield connection
        finally:  # the answer is whole or not wanted any more: a closing handshake would only delay the next clause
            connection.transport.abort()
            await connection.wait_closed()

    async def _connect(self) -> ClientConnection:
        """Connect; refused for a token of the wrong time, once more with the service's time."""
        try:
            return await self._connect_once()
        except InvalidStatus as error:
            response = error.response
            if response.status_code != 403 or not edge_wire.mend_clock(response.headers.get("Date")):
                raise _refused(response.status_code) from None
        try:
            return await self._connect_once()
        except InvalidStatus as error:
            raise _refused(error.response.status_code) from None

    async def _connect_once(self) -> ClientConnection:
        options = self._options
        try:
            return await connect(
                edge_wire.address(options.base_url),
                additional_headers=edge_wire.headers(),
                user_agent_header=None,
                proxy=options.proxy or (None if _is_loopback(options.base_url) else True),
                open_timeout=options.connect_seconds,
                ping_interval=None,
                max_size=_MOST_MESSAGE,
            )
        except InvalidStatus:
            raise
        except TimeoutError:
            raise _failed("timeout", "the speech service did not answer in time") from None
        except (OSError, InvalidURI, InvalidHandshake, WebSocketException) as error:
            raise _failed("unavailable", f"no connection to the speech service: {type(error).__name__}") from None


class _EdgeSpeech:
    """The audio of one answer: decoded, trimmed, with the words moved to where they are in what is left."""

    def __init__(self, tail: float) -> None:
        self.words: tuple[WordTiming, ...] = ()
        self._decoder = Mp3Decoder(edge_wire.SAMPLE_RATE)
        self._trimmer = Trimmer(edge_wire.SAMPLE_RATE, tail)
        self._heard = False

    def push(self, data: bytes) -> TtsAudio | None:
        pcm = self._trimmer.push(self._decoder.push(data))
        return self._audio(pcm) if len(pcm) else None

    def finish(self) -> TtsAudio:
        pcm = self._trimmer.push(self._decoder.finish())
        audio = self._audio(np.concatenate([pcm, self._trimmer.finish()]))
        if not self._heard:
            raise _failed("no_sound", "the speech service sent no sound")
        return audio

    def _audio(self, pcm: Pcm) -> TtsAudio:
        self._heard = self._heard or bool(len(pcm))
        cut = self._trimmer.cut / edge_wire.SAMPLE_RATE
        words, self.words = self.words, ()
        moved = (WordTiming(word.word, max(0.0, word.start - cut), max(0.0, word.end - cut)) for word in words)
        return TtsAudio(pcm, tuple(moved))


def _failed(code: str, message: str) -> EngineError:
    return EngineError("tts", code, message)


def _refused(status: int) -> EngineError:
    codes = {401: "unauthorized", 403: "unauthorized", 429: "rate_limited"}
    code = codes.get(status, "unavailable" if status >= 500 else "bad_response")
    return _failed(code, f"the speech service answered {status}")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
