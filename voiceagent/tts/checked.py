"""A voice that is asked at the start whether it can do what the settings want of it."""

from collections.abc import AsyncGenerator, Collection
from typing import Protocol, runtime_checkable

from voiceagent.errors import ConfigError
from voiceagent.tts.base import TtsAudio, TtsEngine, TtsRequest
from voiceagent.tts.languages import NAMES, is_language
from voiceagent.tts.wrapper import TtsWrapper


@runtime_checkable
class KnowsVoices(Protocol):
    """What an engine may offer beside TtsEngine: what it knows of its voices, once it is open."""

    @property
    def languages(self) -> Collection[str]:
        """Languages (ISO 639) it speaks; empty where it speaks any, or does not know."""
        ...

    def has_voice(self, voice: str) -> bool:
        """Whether a request for this voice can be spoken, as far as the engine can tell."""
        ...

    @property
    def voices(self) -> Collection[str]:
        """Their names, for a message; empty where they are not known."""
        ...


class CheckedTts(TtsWrapper):
    """Any voice. `open` raises ConfigError for a voice or a language in `[agent]` that the engine does not have: else
    every talk would be an apology."""

    def __init__(self, engine: TtsEngine, *, voice: str | None, language: str | None) -> None:
        super().__init__(engine)
        self._voice, self._language = voice, language

    async def open(self) -> None:
        if self._language is not None and not is_language(self._language):
            raise ConfigError(
                f'[agent] language = {self._language!r} is not a language: give a tag such as "en" or "zh-CN"'
            )
        await self.engine.open()
        if isinstance(self.engine, KnowsVoices):
            self._check(self.engine)

    def _check(self, engine: KnowsVoices) -> None:
        if self._voice is not None and not engine.has_voice(self._voice):
            there = f"; there is: {', '.join(sorted(engine.voices))}" if engine.voices else ""
            raise ConfigError(f"[agent] voice = {self._voice!r} is not one of the [tts] engine's{there}")
        spoken = engine.languages
        if self._language is not None and spoken and base(self._language) not in spoken:
            names = ", ".join(NAMES.get(one, one) for one in sorted(spoken))
            raise ConfigError(f"[agent] language = {self._language!r}: the [tts] voice speaks only {names}")

    def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        return self.engine.speak(request)


def base(tag: str) -> str:
    """The language of a tag."""
    return tag.replace("_", "-").split("-")[0].lower()
