"""What questions mean: the built-in rules, and vectors from an endpoint."""

import json
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.llm_cache import groups
from tests.gateway.cache.test_engine import ANNA, ask, caching, says
from tests.support.redis_server import hanging
from voiceagent.errors import ConfigError, EngineError
from voiceagent.gateway.cache.encoder import LAYERS, MODEL, MOST_TOKENS, Encoder
from voiceagent.gateway.cache.index import Shelf
from voiceagent.gateway.cache.meaning import EmbeddingOptions, EncoderMeaning, EndpointMeaning
from voiceagent.gateway.cache.sense.compare import agree, same, sense_of
from voiceagent.gateway.cache.sense.numbers import chinese_numbers, english_numbers
from voiceagent.gateway.cache.store import News
from voiceagent.gateway.cache.text import normalised
from voiceagent.models.store import ModelStore

NAMES = [f"thing{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(40)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How tall is Mount Everest?", "What is the height of Mount Everest?"),
        ("How do I enable dark mode?", "how can I turn dark mode on please"),
        ("What's 15% of 80?", "How much is fifteen percent of eighty?"),
        ("Who wrote Hamlet?", "Who is the author of Hamlet?"),
        ("怎么修改密码？", "请问密码如何更改"),
        ("狗可以吃巧克力吗？", "狗能不能吃巧克力"),
        ("三十天以后可以退货吗", "30天之后可不可以退货？"),
    ],
)
def test_asked_in_other_words(one: str, other: str) -> None:
    assert same(sense_of(one), sense_of(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who hired Tom?", "Who did Tom hire?"),
        ("谁打了小明？", "小明打了谁？"),
        ("Do cats chase dogs?", "Do dogs chase cats?"),
        ("How many pounds are in an ounce?", "How many ounces are in a pound?"),
        ("一克等于多少斤？", "一斤等于多少克？"),
        ("Is tea better than coffee?", "Is coffee better than tea?"),
        ("Can I use a plane?", "Can I use a plan?"),
        ("Should I take it cold?", "Should I not take it cold?"),
        ("When did World War I end?", "When did World War II end?"),
        ("我可以带狗吗？", "我不可以带狗吗？"),
        ("北京到上海多远？", "上海到北京多远？"),
        ("What is x²?", "What is x2?"),
        ("the", "a"),
    ],
)
def test_what_differs_is_not_the_same(one: str, other: str) -> None:
    assert not same(sense_of(one), sense_of(other))
    assert not same(sense_of(other), sense_of(one))


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [
        ("What is the price of this car?", "What is this automobile's cost?", True),
        ("What is the price of the red car?", "What is the price of the blue car?", False),
        ("Is it open on Mondays?", "Is it open on Sundays?", False),
        ("Is the shop open?", "Is the store closed?", False),
        ("Is 5 enough for lunch?", "Is 6 enough for a lunch?", False),
        ("Is this safe for babies?", "Is this not safe for infants?", False),
        ("How do I fly to Rome?", "How do I fly from Rome?", False),
        ("Who invented radio?", "When was radio invented?", False),
    ],
)
def test_what_speaks_against_vectors_that_are_close(one: str, other: str, may: bool) -> None:
    assert agree(sense_of(one), sense_of(other)) is may


def test_a_long_text_is_judged_at_once() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(300))
    one, other = sense_of(text), sense_of(text[::-1])
    assert not same(one, other)
    assert not agree(one, other)


@given(st.text(max_size=50))
def test_any_text_has_a_sense_that_is_its_own(text: str) -> None:
    sense = sense_of(text)
    assert same(sense, sense) is bool(sense.words)
    assert normalised(normalised(text)) == normalised(text)


@given(st.text(alphabet="ab 1.5,:'/-?的不是吗多少", max_size=40))
def test_normal_text_stays_as_it_is(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("twenty five cats", "25 cats"),
        ("one hundred and five", "105"),
        ("two thousand three hundred", "2300"),
        ("five six", "5 6"),
        ("one way", "one way"),
        ("first world war ii", "1st world war 2"),
        ("three million", "3000000"),
    ],
)
def test_english_numbers(words: str, numbers: str) -> None:
    assert " ".join(english_numbers(words.split())) == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("三十", "30"),
        ("十五", "15"),
        ("二〇二六年", "2026年"),
        ("一百零五", "105"),
        ("两万三千", "23000"),
        ("好", "好"),
    ],
)
def test_chinese_numbers(text: str, numbers: str) -> None:
    assert chinese_numbers(text) == numbers


def test_a_shelf_is_bounded_and_forgets() -> None:
    shelf = Shelf(20)
    for number in range(50):
        shelf.add(News(f"k{number}", f"What is item {number}?", None))

    def found(number: int) -> list[str]:
        return shelf.same(sense_of(f"tell me what the item {number} is"))

    assert [number for number in range(50) if found(number)] == list(range(30, 50))
    assert found(49) == ["k49"]
    shelf.forget("k49")
    shelf.forget("k49")
    assert found(49) == []
    shelf.add(News("k48", "What is thing 48?", None))  # the key's question is another one now
    assert found(48) == []


def test_the_closest_vectors_first_and_only_those_of_one_model() -> None:
    shelf = Shelf(100)
    vectors = np.eye(40, dtype=np.float32)
    for number, name in enumerate(NAMES):
        shelf.add(News(name, f"What is {name}?", vectors[number].tobytes()))
    shelf.add(News("short", "What is short?", b"1234"))
    shelf.add(News("none", "What is none?", None))
    between = (0.8 * vectors[3] + 0.6 * vectors[7]).astype(np.float32)
    assert shelf.close(between, sense_of("What is x?"), 0.5) == [NAMES[3], NAMES[7]]
    assert shelf.close(between, sense_of("What is x?"), 0.7) == [NAMES[3]]
    assert shelf.close(between, sense_of("Where is x?"), 0.5) == []
    assert shelf.close(between[:5], sense_of("What is x?"), 0.5) == []
    assert Shelf(5).close(between, sense_of("What is x?"), 0.5) == []


# -- the encoder -------------------------------------------------------------------------------------------------------


def tiny_model(folder: Path) -> None:
    """The encoder's files with 24 numbers a token and random weights."""
    chance, size, words = np.random.default_rng(1), 24, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing", "?", "你"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(words), size),
        "embeddings.position_embeddings.weight": (MOST_TOKENS, size),
        "embeddings.token_type_embeddings.weight": (2, size),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        dense = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        layers: list[tuple[str, tuple[int, ...]]] = [
            *((name, (size, size)) for name in (*dense, f"{layer}.attention.output.dense")),
            (f"{layer}.intermediate.dense", (2 * size, size)),
            (f"{layer}.output.dense", (size, 2 * size)),
        ]
        for name, shape in layers:
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes |= {f"{name}.{part}": (size,) for name in norms for part in ("weight", "bias")}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, shape in shapes.items():
        raw = chance.normal(size=shape).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    told = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(told)) + told + data)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")


def test_the_encoder_cuts_words_into_the_longest_pieces(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    encoder = Encoder(tmp_path)
    assert encoder.tokens("PLAYING? pläy 你x") == [2, 4, 5, 6, 4, 7, 1, 3]
    assert encoder.tokens("play" * 30) == [2, 1, 3]
    assert len(encoder.tokens("play " * 500)) == MOST_TOKENS
    vector = encoder.vector("playing?")
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(vector, encoder.vector("? playing"))


@pytest.mark.parametrize("data", [b"", b"12345678", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 7) + b'{"a":1}'])
def test_files_that_are_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"tensors|JSON|Expecting"):
        Encoder(tmp_path)


@pytest.mark.real
async def test_the_real_encoder() -> None:
    store = ModelStore()
    try:
        store.path(MODEL)
    except ConfigError as missing:
        pytest.skip(str(missing))
    meaning = EncoderMeaning(store)
    await meaning.open()
    one, other = [await meaning.vector(text) for text in ("That is a happy person", "That is a very happy person")]
    assert one is not None
    assert other is not None
    assert float(one @ other) == pytest.approx(0.943, abs=0.001)  # as its makers say
    assert await meaning.vector("你好") is None
    await meaning.close()
    with pytest.raises(EngineError, match="not open"):
        await meaning.vector("Hi")


async def test_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model"):
        await EncoderMeaning(ModelStore(tmp_path)).open()


# -- an endpoint -----------------------------------------------------------------------------------------------------

Embed = Callable[[str], Sequence[float] | Response]


@asynccontextmanager
async def embeddings(embed: Embed) -> AsyncIterator[tuple[str, list[Request]]]:
    """A server of OpenAI's `/v1/embeddings` on loopback, and what it was asked."""
    asked: list[Request] = []

    async def answer(request: Request) -> Response:
        asked.append(request)
        vector = embed((await request.json())["input"])
        if isinstance(vector, Response):
            return vector
        data = [{"object": "embedding", "index": 0, "embedding": list(vector)}]
        return JSONResponse({"object": "list", "data": data, "model": "m", "usage": {"total_tokens": 1}})

    app = Starlette(routes=[Route("/v1/embeddings", answer, methods=["POST"])])
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1", asked
    finally:
        await server.shutdown()


def car_or_not(text: str) -> Sequence[float]:
    """A model that only knows cars."""
    return [3.0, 0.1, 0.0] if "car" in text or "automobile" in text else [0.0, 0.2, 1.0]


def endpoint(url: str, **options: object) -> dict[str, object]:
    return {"meaning": "endpoint", "endpoint": {"base_url": url, "seconds": 2.0, **options}}


async def test_an_endpoints_vectors_find_what_rules_do_not() -> None:
    async with embeddings(car_or_not) as (url, asked), caching(options=endpoint(url, api_key="k1")) as (llm, _):
        assert await says(llm, ask("What is a good car for a family?")) == "First."
        assert await says(llm, ask("What is a nice automobile for parents?")) == "First."
        assert await says(llm, ask("What is a nice house for parents?")) == "Second."
        assert await says(llm, ask("What is not a good car for a family?")) == "Third."
        assert await says(llm, ask("Tell me a good car for a family")) == "First."
        assert llm.totals.meant == 2
        assert len(asked) == 4
        assert asked[0].headers["authorization"] == "Bearer k1"


async def test_the_same_words_need_no_vector() -> None:
    async with embeddings(car_or_not) as (url, asked), caching(options=endpoint(url)) as (llm, _):
        await says(llm, ask("What is a car?"))
        await says(llm, ask("what is a car", replace(ANNA, session="s2")))
        assert len(asked) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        JSONResponse({"error": "no"}, status_code=500),
        JSONResponse({"data": []}),
        JSONResponse({"data": [{"embedding": []}]}),
        JSONResponse({"data": [{"embedding": ["x"]}]}),
        Response(b"[1e999"),
    ],
)
async def test_an_endpoint_that_fails_costs_only_the_hit(wrong: Response) -> None:
    async with embeddings(lambda text: wrong) as (url, _), caching(options=endpoint(url)) as (llm, _):
        assert await says(llm, ask("What is a car?")) == "First."
        assert await says(llm, ask("What is a car?")) == "First."
        assert await says(llm, ask("What is a big car?")) == "Second."
        assert llm.totals.failed == 2


async def test_an_endpoint_that_is_slow_or_away_holds_nobody_up() -> None:
    meaning = EndpointMeaning(EmbeddingOptions(base_url="http://127.0.0.1:9/v1", api_key=SecretStr("k")))
    with pytest.raises(EngineError, match="not open"):
        await meaning.vector("Hi")
    await meaning.open()
    with pytest.raises(EngineError) as caught:
        await meaning.vector("Hi")
    assert caught.value.code == "unavailable"
    await meaning.close()
    await meaning.close()
    async with hanging() as port:
        slow = EndpointMeaning(EmbeddingOptions(base_url=f"http://127.0.0.1:{port}/v1", seconds=0.05))
        await slow.open()
        with pytest.raises(EngineError) as caught:
            await slow.vector("Hi")
        assert caught.value.code == "timeout"
        await slow.close()


def test_the_benchmarks_questions_are_all_different() -> None:
    for part in ("tune", "test"):
        texts = [text for group in groups(part) for text in (group.ask, *group.same, *group.near)]
        assert len(texts) == len(set(texts))
    assert sum(len(group.same) + len(group.near) for group in groups("test")) >= 200
