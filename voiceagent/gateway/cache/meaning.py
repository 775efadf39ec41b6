"""Models of meaning: questions as vectors, of which those that mean the same lie close together."""

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Protocol

import httpx
import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import Field

from voiceagent.errors import ConfigError, EngineError
from voiceagent.gateway.cache.encoder import MODEL, Encoder
from voiceagent.gateway.cache.sense.chinese import has_chinese
from voiceagent.models.store import ModelStore
from voiceagent.section import KeySecret, Seconds, Section, WebAddress
from voiceagent.tts.threads import start_pool

Vector = npt.NDArray[np.float32]
"""Of length one, shape (n,)."""

MOST_SIZE = 8192
"""Numbers in an endpoint's vector."""


class MeaningModel(Protocol):
    """A model of meaning. `threshold` is the least cosine of two questions that it holds for the same."""

    @property
    def threshold(self) -> float: ...

    async def open(self) -> None:
        """Raises ConfigError when something is missing, naming the mend."""
        ...

    async def vector(self, text: str) -> Vector | None:
        """None for text it knows nothing of. Raises EngineError."""
        ...

    async def close(self) -> None: ...


class EncoderMeaning:
    """The encoder of the catalogue, on a thread of its own. It knows English; of Chinese it has no vector."""

    threshold = 0.93
    """The first at which the questions under `tune` of the benchmark have no wrong hit, and a little more."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self._thread: ThreadPoolExecutor | None = None
        self._encoder: Encoder | None = None

    async def open(self) -> None:
        folder = self._models.path(MODEL)
        self._thread = await start_pool(1, "encoder")
        try:
            self._encoder = await asyncio.get_running_loop().run_in_executor(self._thread, Encoder, folder)
        except (OSError, ValueError) as error:
            await self.close()
            raise ConfigError(f"[llm.cache] the model {MODEL} cannot be read ({type(error).__name__})") from None
        except BaseException:
            await self.close()
            raise

    async def vector(self, text: str) -> Vector | None:
        if self._thread is None or self._encoder is None:
            raise EngineError("llm", "unavailable", "the encoder is not open")
        if has_chinese(text):
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._encoder.vector, text)

    async def close(self) -> None:
        thread, self._thread, self._encoder = self._thread, None, None
        if thread is not None:
            thread.shutdown(wait=False, cancel_futures=True)


class EmbeddingOptions(Section):
    """An OpenAI-compatible `/embeddings`."""

    base_url: WebAddress
    """Its address."""
    model: Annotated[str, Field(min_length=1)] = "text-embedding-3-small"
    """The model to ask for."""
    api_key: KeySecret | None = None
    """Its key."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The model's similarity from which on two questions are one: measure it on questions of yours."""
    seconds: Seconds = 0.15
    """A question whose vector takes longer goes to the model."""


class _Embedding(msgspec.Struct):
    embedding: list[float]


class _EmbeddingBody(msgspec.Struct):
    data: list[_Embedding]


class EndpointMeaning:
    """Vectors from an endpoint."""

    def __init__(self, options: EmbeddingOptions) -> None:
        self._options = options
        self._client: httpx.AsyncClient | None = None

    @property
    def threshold(self) -> float:
        return self._options.threshold

    async def open(self) -> None:
        options = self._options
        url = httpx.URL(options.base_url)
        key = {} if options.api_key is None else {"Authorization": f"Bearer {options.api_key.get_secret_value()}"}
        self._client = httpx.AsyncClient(
            headers={"Content-Type": "application/json", **key},
            timeout=options.seconds,
            verify=url.scheme == "https",
            trust_env=url.host not in ("localhost", "127.0.0.1", "::1"),  # a proxy cannot reach this very machine
        )

    async def vector(self, text: str) -> Vector | None:
        if self._client is None:
            raise EngineError("llm", "unavailable", "the embeddings are not open")
        body = msgspec.json.encode({"model": self._options.model, "input": text.encode("utf-8", "replace").decode()})
        try:
            response = await self._client.post(f"{self._options.base_url}/embeddings", content=body)
        except httpx.TimeoutException:
            raise EngineError("llm", "timeout", "the embedding took too long") from None
        except httpx.HTTPError as error:
            raise EngineError("llm", "unavailable", f"the embedding failed ({type(error).__name__})") from None
        if response.status_code != httpx.codes.OK:
            raise EngineError("llm", "unavailable", f"the embedding failed (HTTP {response.status_code})")
        return _parsed(response.content)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def unit(vector: Vector) -> Vector:
    """Of length one; nothing stays nothing."""
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def _parsed(content: bytes) -> Vector:
    try:
        numbers = msgspec.json.decode(content, type=_EmbeddingBody).data[0].embedding
    except (msgspec.MsgspecError, IndexError):
        numbers = []
    if not 0 < len(numbers) <= MOST_SIZE or not all(map(math.isfinite, numbers)):
        raise EngineError("llm", "bad_response", "the endpoint gave an embedding that is none")
    return unit(np.asarray(numbers, dtype=np.float32))
