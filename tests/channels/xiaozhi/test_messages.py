"""What a device and the server send each other, byte for byte."""

import json
import struct

import pytest

from tests.support.xiaozhi.device import DTX, Device
from tests.support.xiaozhi.line import asked, line, protocol, sent, tone
from voiceagent.channels.base import CloseSocket, SetTimer
from voiceagent.channels.xiaozhi.messages import Version, pack, shortened, unpack
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.errors import Refused
from voiceagent.session.commands import AppendAudio, Configure
from voiceagent.session.events import ResponseAudio

HELLO = {
    "type": "hello",
    "version": 1,
    "features": {"mcp": False},
    "transport": "websocket",
    "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
}


def hello(**fields: object) -> str:
    return json.dumps({**HELLO, **fields})


# -- framings ---------------------------------------------------------------------------------------------------------


def test_version_1_is_the_bare_packet() -> None:
    assert pack(1, b"abc", 60) == b"abc"
    assert unpack(1, b"abc") == (b"abc", 0)


def test_version_2_has_a_head_of_16_bytes_with_the_time_stamp() -> None:
    framed = pack(2, b"abc", 1060)
    assert framed == bytes.fromhex("0002 0000 00000000 00000424 00000003") + b"abc"
    assert unpack(2, framed) == (b"abc", 1060)


def test_version_3_has_a_head_of_4_bytes() -> None:
    framed = pack(3, b"abc", 60)
    assert framed == bytes.fromhex("00 00 0003") + b"abc"
    assert unpack(3, framed) == (b"abc", 0)


@pytest.mark.parametrize(
    ("version", "frame"),
    [
        (1, b""),
        (1, bytes(65_536)),
        (2, b""),
        (2, bytes(15)),
        (2, struct.pack(">HHIII", 2, 0, 0, 0, 0)),
        (2, struct.pack(">HHIII", 2, 0, 0, 0, 4) + b"abc"),
        (2, struct.pack(">HHIII", 2, 0, 0, 0, 2) + b"abc"),
        (2, struct.pack(">HHIII", 2, 0, 0, 0, 2**32 - 1) + b"abc"),
        (2, struct.pack(">HHIII", 2, 1, 0, 0, 3) + b"{} "),
        (2, struct.pack(">HHIII", 1, 0, 0, 0, 3) + b"abc"),
        (3, bytes(3)),
        (3, struct.pack(">BBH", 0, 0, 0)),
        (3, struct.pack(">BBH", 0, 0, 4) + b"abc"),
        (3, struct.pack(">BBH", 0, 0, 2) + b"abc"),
        (3, struct.pack(">BBH", 1, 0, 3) + b"abc"),
    ],
)
def test_a_frame_that_is_none_is_refused(version: Version, frame: bytes) -> None:
    with pytest.raises(Refused):
        unpack(version, frame)


def test_texts_are_cut_between_characters() -> None:
    assert shortened("你好", 5) == "你"
    assert shortened("a\ud800b") == "ab"


# -- hello ------------------------------------------------------------------------------------------------------------


def test_hello_is_answered_with_all_that_any_client_reads() -> None:
    actions = protocol().receive(hello())
    assert sent(actions) == [
        {
            "type": "hello",
            "session_id": "sess_1",
            "transport": "websocket",
            "version": 1,
            "audio_params": {"format": "opus", "sample_rate": 24000, "channels": 1, "frame_duration": 60},
        }
    ]


def test_hello_is_answered_once() -> None:
    device = protocol()
    device.receive(hello())
    assert device.receive(hello()) == []


def test_without_hello_the_connection_is_ended() -> None:
    silent = line()
    silent.device.outbox.clear()
    silent.run(10.1)
    assert silent.closed is not None
    assert (silent.closed.code, round(silent.closed_at)) == (1002, 10)
    greeted = line().greet()
    greeted.run(11)
    assert greeted.closed is None


@pytest.mark.parametrize("frame_ms", [20, 40, 60])
def test_packets_to_the_device_are_as_long_as_its_own(frame_ms: int) -> None:
    talk = line(device=Device(frame_ms=frame_ms)).listen()
    assert talk.device.server_frame_ms == frame_ms
    (configured,) = talk.asked(Configure)
    assert configured.options.frame_ms == frame_ms
    talk.reply()
    talk.speak(0.48)
    talk.run(1)
    assert [len(pcm) for pcm in talk.device.played] == [24 * frame_ms] * (480 // frame_ms)


@pytest.mark.parametrize("frame_ms", [0, 7, 120, -1])
def test_other_lengths_become_60_ms(frame_ms: int) -> None:
    params = {**HELLO["audio_params"], "frame_duration": frame_ms}  # type: ignore[dict-item]
    (answer,) = sent(protocol().receive(hello(audio_params=params)))
    assert answer["audio_params"]["frame_duration"] == 60  # type: ignore[index]


@pytest.mark.parametrize(("header", "said", "framed"), [(2, 1, 2), (None, 3, 3), (None, 9, 1), (3, 2, 3), (None, 0, 1)])
def test_the_framing_is_that_of_the_header_or_else_of_hello(header: int | None, said: int, framed: int) -> None:
    device = protocol(header)
    (answer,) = sent(device.receive(hello(version=said)))
    assert answer["version"] == framed


@pytest.mark.parametrize(
    "wrong",
    [
        {"transport": "udp"},
        {"audio_params": {"format": "mp3"}},
        {"audio_params": {"format": "opus", "channels": 2}},
        {"audio_params": {"format": "pcm", "sample_rate": 44_101}},
        {"audio_params": "opus"},
        {"version": "one"},
        {"features": ["mcp"]},
    ],
)
def test_a_hello_that_cannot_be_met_ends_the_connection(wrong: dict[str, object]) -> None:
    (close,) = protocol().receive(hello(**wrong))
    assert isinstance(close, CloseSocket)
    assert close.code == 1002


def test_the_hello_of_old_firmware_has_no_features() -> None:
    old = {key: value for key, value in HELLO.items() if key != "features"}
    assert [answer["type"] for answer in sent(protocol().receive(json.dumps(old)))] == ["hello"]


def test_what_comes_before_hello_has_no_effect() -> None:
    device = protocol()
    for frame in (DTX, '{"type":"listen","state":"start"}', '{"type":"abort"}', '{"type":"mcp","payload":{}}'):
        assert device.receive(frame) == []
    (close,) = device.receive("hello")
    assert isinstance(close, CloseSocket)


@pytest.mark.parametrize(
    ("chip", "lead_ms"), [("", 180), ("esp32s3", 180), ("esp32c3", 60), ("ESP32-C3", 60), ("esp32p4", 600)]
)
def test_the_lead_is_that_of_the_chip(chip: str, lead_ms: int) -> None:
    section = XiaozhiSection(chip_lead_frames={"esp32c3": 1, "esp32p4": 10})
    talk = line(section, chip=chip).greet()
    (configured,) = talk.asked(Configure)
    assert (configured.options.lead_ms, configured.options.output_rate) == (lead_ms, 24_000)


# -- audio ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_ms", [20, 40, 60])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_the_device_hears_is_heard(version: int, frame_ms: int) -> None:
    talk = line(device=Device(version=version, frame_ms=frame_ms)).listen()
    count = talk.device.say(tone(0.36, 16_000))
    talk.run(0.01)
    appended = talk.asked(AppendAudio)
    assert len(appended) == count == 360 // frame_ms
    assert {(len(audio.pcm), audio.rate) for audio in appended} == {(48 * frame_ms, 48_000)}
    assert int(abs(appended[-1].pcm).max()) > 5_000


@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_is_said_is_played_in_every_framing(version: int) -> None:
    talk = line(device=Device(version=version)).listen()
    talk.reply()
    talk.speak(0.6)
    talk.run(0.7)
    assert round(talk.device.played_seconds, 3) == 0.6
    assert 0.7 < abs(talk.device.heard()[4_000:]).max() / 9_000 < 1.4


def test_plain_pcm_is_heard_and_answered_in_opus() -> None:
    talk = line(device=Device(plain_pcm=True)).listen()
    talk.device.say(tone(0.06, 16_000))
    talk.run(0.01)
    (audio,) = talk.asked(AppendAudio)
    assert (len(audio.pcm), audio.rate) == (960, 16_000)
    assert (audio.pcm == tone(0.06, 16_000)).all()
    assert talk.device.got[0]["audio_params"]["format"] == "opus"  # type: ignore[index]
    talk.reply()
    talk.speak(0.3)
    talk.run(0.4)
    assert round(talk.device.played_seconds, 3) == 0.3


def test_plain_pcm_is_answered_in_pcm_where_that_is_configured() -> None:
    talk = line(XiaozhiSection(pcm_down=True), device=Device(plain_pcm=True, pcm_down=True)).listen()
    assert talk.device.got[0]["audio_params"]["format"] == "pcm"  # type: ignore[index]
    talk.reply()
    talk.speak(0.3)
    talk.run(0.4)
    assert (talk.device.heard() == tone(0.3)).all()


def test_an_odd_byte_of_pcm_is_left_out() -> None:
    talk = line(device=Device(plain_pcm=True)).listen()
    assert talk.protocol.receive(bytes(961)) == []


def test_the_server_stamps_what_it_sends_and_never_with_0() -> None:
    talk = line(device=Device(version=2, mode="realtime", aec=True)).listen()
    talk.reply()
    audio = ResponseAudio("resp_1", "item_resp_1", tone(0.18))
    frames = [frame for frame in talk.protocol.encode(audio) if isinstance(frame, bytes)]
    assert [unpack(2, frame)[1] for frame in frames] == [60, 120, 180]


def test_the_start_asks_for_nothing_but_hello() -> None:
    assert protocol().start() == [SetTimer("hello", 10.0)]
    assert asked(protocol().start()) == []
