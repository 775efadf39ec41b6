"""The client's words on the wire, its audio arithmetic, and its WAV files."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voiceagent_client import wire
from voiceagent_client.captions import caption, timing, trouble
from voiceagent_client.endpoint import Endpoint
from voiceagent_client.errors import AudioError, ClientError
from voiceagent_client.happenings import AgentText, Interrupted, ResponseMeasured, TurnTimings
from voiceagent_client.measure import ResponseMeter
from voiceagent_client.pcm import FRAME, RATE, first_audible, silence, speech_end, to_ms
from voiceagent_client.transcript import Line, Transcript
from voiceagent_client.wav import read_wav, recording
from voiceagent_client.wire import Json, ServerEvent, SessionConfig

from tests.support.client_server import tone

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def session_of(config: SessionConfig) -> dict[str, Json]:
    sent = json.loads(config.update().encode())
    assert sent["type"] == "session.update"
    session = sent["session"]
    assert isinstance(session, dict)
    return session


def test_a_plain_session_asks_for_24_khz_and_the_users_words() -> None:
    assert session_of(SessionConfig()) == {
        "type": "realtime",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "gpt-4o-mini-transcribe"},
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}},
        },
    }


def test_a_session_with_everything() -> None:
    detection: dict[str, Json] = {"type": "server_vad", "silence_duration_ms": 200}
    config = SessionConfig(
        "简短回答。", "amy", "zh", timings=True, extra={"audio": {"input": {"turn_detection": detection}}, "tools": []}
    )
    assert session_of(config) == {
        "type": "realtime",
        "instructions": "简短回答。",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "gpt-4o-mini-transcribe", "language": "zh"},
                "turn_detection": detection,
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "amy"},
        },
        "voiceagent": {"events": True},
        "tools": [],
    }
    assert "transcription" not in str(session_of(SessionConfig(transcribe=False)))


def test_audio_survives_the_wire() -> None:
    pcm = tone(20)
    sent = wire.parse(wire.append(pcm).encode())
    assert sent is not None
    assert sent.type == "input_audio_buffer.append"
    arrived = sent.audio("audio")
    assert arrived is not None
    assert np.array_equal(arrived, pcm)


@pytest.mark.parametrize("message", ["", "{", "[]", '"x"', "{}", '{"type":5}', "[" * 100_000, b'{"type":"error"}'])
def test_what_is_no_event(message: str | bytes) -> None:
    assert wire.parse(message) is None


@pytest.mark.parametrize("audio", [None, 5, "", "!", "AAA", "AAAA", "语音"])
def test_what_is_no_audio(audio: Json) -> None:
    assert ServerEvent("x", {"audio": audio}).audio("audio") is None


@settings(deadline=None)  # the machine may be busy
@given(
    st.dictionaries(st.sampled_from(["a", "b"]), JSON), st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3)
)
def test_reading_an_event_never_fails(body: dict[str, Json], path: list[str]) -> None:
    event = ServerEvent("x", body)
    assert isinstance(event.text(*path), str)
    assert isinstance(event.integer(*path), int | None)
    assert all(isinstance(entry, dict) for entry in event.objects(*path))
    assert all(isinstance(entry, int) for entry in event.integers(*path).values())
    event.audio(*path)


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=200))
def test_parsing_text_never_fails(message: str) -> None:
    wire.parse(message)


def test_the_endpoint_keeps_its_secrets() -> None:
    endpoint = Endpoint.of("wss://me:pw@[::1]:9/v1/realtime?a=1", "sk-secret", {"model": "big one"})
    assert endpoint.url == "wss://me:pw@[::1]:9/v1/realtime?a=1&model=big+one"
    assert endpoint.name == "wss://[::1]:9/v1/realtime"
    assert endpoint.headers == {"Authorization": "Bearer sk-secret"}
    assert endpoint.proxy is None
    assert "secret" not in repr(endpoint)
    assert "pw" not in repr(endpoint)
    assert Endpoint.of("wss://example.com", None, {}).proxy is True


@pytest.mark.parametrize("url", ["", "http://x/", "ws://", "ws://[", "ws://host:port/", "localhost:8000"])
def test_an_unusable_url(url: str) -> None:
    with pytest.raises(ClientError, match="url"):
        Endpoint.of(url, None, {})


@pytest.mark.parametrize("key", ["sk a", "sk\r\nX: y", "钥匙"])
def test_an_unusable_key_is_not_repeated(key: str) -> None:
    with pytest.raises(ClientError) as failed:
        Endpoint.of("ws://x", key, {})
    assert key not in str(failed.value)


def test_where_sound_begins_and_speech_ends() -> None:
    assert first_audible(silence(100)) is None
    assert first_audible(silence(0)) is None
    assert first_audible(np.array([0, -327, 327, -328, 0], dtype=np.int16)) == 3
    assert first_audible(np.array([-32768], dtype=np.int16)) == 0
    speech = np.concatenate((silence(RATE), tone(500), silence(RATE)))
    assert speech_end(speech) == RATE + RATE // 2
    assert speech_end(silence(RATE)) is None
    assert speech_end(silence(10)) is None
    noise = np.random.default_rng(1).normal(0, 60, len(speech)).astype(np.int16)
    assert speech_end(speech + noise) == RATE + RATE // 2
    assert to_ms(FRAME - 1) == 19


def write_wav(path: Path, data: bytes, *, rate: int = RATE, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def test_a_24_khz_file_is_read_as_it_is(tmp_path: Path) -> None:
    assert np.array_equal(read_wav(write_wav(tmp_path / "a.wav", tone(100).tobytes())), tone(100))
    assert len(read_wav(write_wav(tmp_path / "b.wav", b""))) == 0


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    times = np.arange(rate) / rate
    stereo = np.column_stack([(8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)] * 2)
    pcm = read_wav(write_wav(tmp_path / "a.wav", stereo.tobytes(), rate=rate, channels=2))
    assert len(pcm) == RATE
    expected = 8000 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    inner = slice(RATE // 10, -RATE // 10)
    assert np.max(np.abs(pcm[inner] - expected[inner])) < 40


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="No such file"):
        read_wav(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(AudioError, match="ffmpeg"):
        read_wav(tmp_path / "text.wav")
    with pytest.raises(AudioError, match="24-bit"):
        read_wav(write_wav(tmp_path / "deep.wav", bytes(300), width=3))
    with pytest.raises(AudioError, match="cannot write"), recording(tmp_path / "no" / "out.wav"):
        pass


def test_both_sides_side_by_side(tmp_path: Path) -> None:
    with recording(tmp_path / "out.wav") as recorder:
        recorder.write(tone(20), silence(FRAME))
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, RATE, FRAME)
        both = np.frombuffer(file.readframes(FRAME), dtype="<i2").reshape(-1, 2)
    assert np.array_equal(both[:, 0], tone(20))
    assert not both[:, 1].any()


def test_a_response_is_measured_to_its_first_audible_sample() -> None:
    meter = ResponseMeter()
    meter.created("before")
    meter.speech_ended(10.0)
    assert meter.audio("before", tone(20), 10.1) is None
    meter.created("answer")
    assert meter.audio("answer", silence(FRAME), 10.5) is None
    late = np.concatenate((silence(FRAME // 2), tone(20)))
    assert meter.audio("answer", late, 10.75) == ResponseMeasured("answer", 750, 500, 30)
    assert meter.audio("answer", tone(20), 10.8) is None
    assert meter.done("answer") is None


def test_a_silent_response_is_measured_too() -> None:
    meter = ResponseMeter()
    meter.speech_ended(1.0)
    meter.created("answer")
    meter.audio("answer", silence(FRAME), 1.25)
    assert meter.done("answer") == ResponseMeasured("answer", None, 250, 20)


def test_the_transcript_keeps_the_order_of_the_turns() -> None:
    transcript = Transcript()

    def take(kind: str, **body: Json) -> None:
        transcript.take(ServerEvent(kind, body))

    take("conversation.item.added", item={"id": "u", "role": "user", "content": [{"type": "input_audio"}]})
    take("conversation.item.added", item={"id": "a", "role": "assistant", "content": []})
    take("response.output_audio_transcript.delta", item_id="a", delta="你")
    take("response.output_audio_transcript.delta", item_id="a", delta="好。")
    take("voiceagent.transcript.partial", item_id="u", text="Yellow")
    take("voiceagent.transcript.partial", item_id="u", text="Hell")
    take("conversation.item.input_audio_transcription.completed", item_id="u", transcript="Hello.")
    take("response.output_audio_transcript.done", item_id="a")
    transcript.cut("a", 120, 1200)
    typed: Json = [{"type": "input_text", "text": "typed"}]
    take("conversation.item.added", item={"id": "t", "role": "user", "content": typed})
    take("conversation.item.added", item={"id": "s", "role": "system", "content": typed})
    assert transcript.lines == (
        Line("user", "u", "Hello.", True),
        Line("agent", "a", "你好。", True, 120, 0.1),
        Line("user", "t", "typed", True),
    )


def test_what_was_heard_of_an_interrupted_turn_is_whole_words() -> None:
    def heard(text: str, share: float) -> str:
        return Line("agent", "a", text, True, 1000, share).heard

    assert Line("agent", "a", "The whole of it.", True).heard == "The whole of it."
    assert heard("The capital of France.", 0.5) == "The capital"
    assert heard("The capital of France.", 0.4) == "The"
    assert heard("The capital of France.", 0.0) == ""
    assert heard("The capital of France.", 1.0) == "The capital of France."
    assert heard("法国的首都是巴黎。", 0.5) == "法国的首"


def test_captions() -> None:
    assert caption(AgentText("a", "x", "x", False)) is None
    assert caption(AgentText("a", "", "你好", True)) == "agent: 你好"
    assert caption(Interrupted("a", 1250)) == "       (interrupted after 1.2 s)"
    assert timing(TurnTimings("i", "r", {"asr": 70, "llm_first_token": 110}, 180)) == (
        "       (server: 180 ms = asr 70 · llm_first_token 110)"
    )
    assert trouble(Interrupted("a", 1)) is None
