"""Moderators, which judge text: lists of words and patterns, and any OpenAI-compatible `/moderations`."""

import re
from collections.abc import Iterable
from typing import Protocol

import httpx
import msgspec
from pydantic import SecretStr

from voiceagent.errors import ConfigError, EngineError
from voiceagent.plugins import PluginKind

_CATEGORY = re.compile(r"[A-Za-z0-9_/-]{1,64}")


class Moderator(Protocol):
    """What judges text. One of a third party is a class that is made from its options alone, which it names as a
    pydantic model in `Options`; making it does no I/O, `open()` does."""

    async def open(self) -> None:
        """Connect or load. Raises ConfigError when something is missing."""
        ...

    async def judge(self, text: str) -> str | None:
        """A short word for why the text is not to be said, None where it may be.
        Raises EngineError when there is no verdict."""
        ...

    async def close(self) -> None: ...


MODERATORS = PluginKind("guard", Moderator)
"""Moderators of third parties."""


class WordList:
    """Words (whole, in any case; Chinese ones anywhere) and regular expressions. The verdict is `word_list`."""

    def __init__(self, words: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        """Raises ConfigError for a pattern that is none."""
        parts = [_whole(word.strip()) for word in words if word.strip()]
        for pattern in patterns:
            try:
                parts.append(f"(?:{re.compile(pattern).pattern})")
            except re.error as error:
                raise ConfigError(f"[guard] patterns: {pattern!r} is no regular expression: {error}") from None
        self._pattern = re.compile("|".join(parts), re.IGNORECASE) if parts else None

    async def open(self) -> None:
        pass

    async def judge(self, text: str) -> str | None:
        return "word_list" if self._pattern is not None and self._pattern.search(text) else None

    async def close(self) -> None:
        pass


class _ModerationResult(msgspec.Struct):
    flagged: bool = False
    categories: dict[str, bool | None] = {}


class _ModerationBody(msgspec.Struct):
    results: list[_ModerationResult]


class ModerationEndpoint:
    """OpenAI's `/moderations`, or one that speaks like it. The verdict is the first category that is flagged."""

    def __init__(
        self, base_url: str, api_key: SecretStr | None = None, model: str | None = None, seconds: float = 1.0
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/moderations"
        self._key = api_key
        self._model = model
        self._seconds = seconds
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        headers = {"Authorization": f"Bearer {self._key.get_secret_value()}"} if self._key is not None else {}
        url = httpx.URL(self._url)
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=self._seconds,
            verify=url.scheme == "https",
            trust_env=url.host not in ("localhost", "127.0.0.1", "::1"),  # a proxy cannot reach this very machine
        )

    async def judge(self, text: str) -> str | None:
        if self._client is None:
            raise EngineError("llm", "unavailable", "the moderation is not open")
        body = {"input": text, **({"model": self._model} if self._model else {})}
        try:
            response = await self._client.post(self._url, content=msgspec.json.encode(body), headers=_JSON)
        except httpx.TimeoutException:
            raise EngineError("llm", "timeout", "the moderation took too long") from None
        except (httpx.TransportError, UnicodeEncodeError) as error:
            raise EngineError("llm", "unavailable", f"the moderation failed ({type(error).__name__})") from None
        if response.status_code != 200:
            raise EngineError("llm", "unavailable", f"the moderation failed (HTTP {response.status_code})")
        try:
            results = msgspec.json.decode(response.content, type=_ModerationBody).results
        except msgspec.MsgspecError:
            raise EngineError("llm", "bad_response", "the moderation gave an answer that is none") from None
        return next((_reason(result) for result in results if result.flagged), None)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


_JSON = {"Content-Type": "application/json"}


def _whole(word: str) -> str:
    """Word borders where the word begins and ends with an ASCII letter; Chinese has none."""
    before = r"(?<![A-Za-z0-9_])" if word[0].isascii() and word[0].isalnum() else ""
    after = r"(?![A-Za-z0-9_])" if word[-1].isascii() and word[-1].isalnum() else ""
    return before + re.escape(word) + after


def _reason(result: _ModerationResult) -> str:
    named = (name for name, flagged in result.categories.items() if flagged and _CATEGORY.fullmatch(name))
    return next(named, "flagged")
