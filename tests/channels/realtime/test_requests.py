"""Every client event of OpenAI Realtime, right and wrong."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.realtime.wire import asked, b64, error, protocol, say, sent, update
from voiceagent.audio import g711
from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import Execute, Send
from voiceagent.channels.realtime.audio import MAX_APPEND_BYTES
from voiceagent.channels.realtime.items import PICTURE
from voiceagent.errors import Refused
from voiceagent.session import commands, events
from voiceagent.session.conversation import AnyItem, FunctionCall, FunctionOutput, Item, Part

RAMP = np.arange(-480, 480, 2, dtype=np.int16)


def message(role: str, *content: object, **more: object) -> dict[str, object]:
    return {"type": "message", "role": role, "content": list(content), **more}


def test_appended_pcm() -> None:
    (command,) = asked(say(protocol(), "input_audio_buffer.append", audio=b64(RAMP.tobytes())))
    assert isinstance(command, commands.AppendAudio)
    assert command.rate == 24_000
    assert command.pcm.dtype == np.int16
    assert np.array_equal(command.pcm, RAMP)


@pytest.mark.parametrize(("kind", "decode"), [("pcmu", g711.decode_ulaw), ("pcma", g711.decode_alaw)])
def test_appended_g711(kind: str, decode: Callable[[bytes], Pcm]) -> None:
    realtime = protocol()
    update(realtime, audio={"input": {"format": {"type": f"audio/{kind}"}}})
    data = bytes(range(256))
    (command,) = asked(say(realtime, "input_audio_buffer.append", audio=b64(data)))
    assert isinstance(command, commands.AppendAudio)
    assert command.rate == 8_000
    assert np.array_equal(command.pcm, decode(data))


def test_an_empty_append_asks_nothing() -> None:
    assert say(protocol(), "input_audio_buffer.append", audio="") == []


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        ("not base64!", "invalid_value"),
        ("QUJ", "invalid_value"),
        (b64(b"odd"), "invalid_value"),
        (5, "invalid_type"),
        (None, "invalid_type"),
        (b64(bytes(MAX_APPEND_BYTES + 2)), "audio_too_large"),
    ],
)
def test_audio_that_cannot_be_read(audio: object, code: str) -> None:
    answer = error(say(protocol(), "input_audio_buffer.append", audio=audio, event_id="mine"))
    assert (answer["code"], answer["param"], answer["event_id"]) == (code, "audio", "mine")


def test_the_largest_append_is_taken() -> None:
    (command,) = asked(say(protocol(), "input_audio_buffer.append", audio=b64(bytes(MAX_APPEND_BYTES))))
    assert isinstance(command, commands.AppendAudio)
    assert command.pcm.size == MAX_APPEND_BYTES // 2


@pytest.mark.parametrize(
    ("kind", "fields", "command"),
    [
        ("input_audio_buffer.commit", {}, commands.CommitAudio()),
        ("input_audio_buffer.clear", {}, commands.ClearAudio()),
        ("conversation.item.retrieve", {"item_id": "i"}, commands.RetrieveItem("i")),
        ("conversation.item.delete", {"item_id": "i"}, commands.DeleteItem("i")),
        (
            "conversation.item.truncate",
            {"item_id": "i", "content_index": 0, "audio_end_ms": 1234},
            commands.TruncateItem("i", 1234),
        ),
        ("conversation.item.truncate", {"item_id": "i", "audio_end_ms": -5}, commands.TruncateItem("i", 0)),
        ("conversation.item.truncate", {"item_id": "i", "audio_end_ms": 10**30}, commands.TruncateItem("i", 2**31 - 1)),
        ("response.cancel", {}, commands.CancelResponse()),
        ("response.cancel", {"response_id": "r"}, commands.CancelResponse("r")),
        ("response.create", {}, commands.CreateResponse()),
        ("response.create", {"response": None}, commands.CreateResponse()),
        ("response.create", {"response": {"max_output_tokens": "inf"}}, commands.CreateResponse()),
        ("response.create", {"response": {"conversation": "auto"}}, commands.CreateResponse()),
        ("response.create", {"response": {"input": []}}, commands.CreateResponse(input=())),
    ],
)
def test_plain_commands(kind: str, fields: dict[str, object], command: commands.Command) -> None:
    assert say(protocol(), kind, event_id="mine", **fields) == [Execute(command, "mine")]
    assert say(protocol(), kind, **fields) == [Execute(command, None)]
    assert say(protocol(), kind, event_id=None, **fields) == [Execute(command, None)]


def test_a_response_with_everything() -> None:
    response = {
        "instructions": "用一句话回答。",
        "output_modalities": ["text"],
        "max_output_tokens": 64,
        "conversation": "none",
        "metadata": {"client_event_id": "c1"},
        "input": [
            message("system", {"type": "input_text", "text": "你好"}),
            message("user", {"type": "input_text", "text": "hi"}, id="mine"),
        ],
        "tools": [],
        "tool_choice": "auto",
        "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}},
    }
    (command,) = asked(say(protocol(), "response.create", response=response))
    assert command == commands.CreateResponse(
        instructions="用一句话回答。",
        modality="text",
        max_output_tokens=64,
        tools=(),
        tool_choice="auto",
        input=(Item("item_2", "system", (Part("text", "你好"),)), Item("mine", "user", (Part("text", "hi"),))),
        store=False,
        metadata={"client_event_id": "c1"},
    )


@pytest.mark.parametrize(
    ("given", "item"),
    [
        (message("user", {"type": "input_text", "text": "嗨"}), Item("item_2", "user", (Part("text", "嗨"),))),
        (message("system", {"type": "input_text", "text": "s"}, id="a"), Item("a", "system", (Part("text", "s"),))),
        (message("assistant", {"type": "output_text", "text": "t"}), Item("item_2", "assistant", (Part("text", "t"),))),
        (
            message("assistant", {"type": "output_audio", "transcript": "t", "audio": None}, status="incomplete"),
            Item("item_2", "assistant", (Part("audio", "t"),), "incomplete"),
        ),
        (
            message("user", {"type": "input_audio", "transcript": "t", "audio": "AAAA"}, status="in_progress"),
            Item("item_2", "user", (Part("audio", "t"),)),
        ),
        (message("user", {"type": "input_audio", "transcript": None}), Item("item_2", "user", (Part("audio", ""),))),
        (message("user", object="realtime.item"), Item("item_2", "user")),
        (
            {"type": "function_call_output", "call_id": "c", "output": '{"rain": true}'},
            FunctionOutput("item_2", "c", '{"rain": true}'),
        ),
        ({"type": "function_call_output", "call_id": "c"}, FunctionOutput("item_2", "c", "")),
        (
            {"type": "function_call", "id": "f1", "call_id": "c", "name": "weather", "arguments": "{}"},
            FunctionCall("f1", "c", "weather", "{}"),
        ),
        ({"type": "function_call", "name": "weather"}, FunctionCall("item_2", "call_3", "weather", "")),
    ],
)
def test_created_items(given: dict[str, object], item: AnyItem) -> None:
    assert asked(say(protocol(), "conversation.item.create", item=given)) == [commands.CreateItem(item)]


def test_a_place_for_the_item() -> None:
    given = message("user", id="u")
    for place in ("root", "item_9"):
        actions = say(protocol(), "conversation.item.create", item=given, previous_item_id=place, event_id="mine")
        assert actions == [Execute(commands.CreateItem(Item("u", "user"), place), "mine")]


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        ({"type": "function_call_output", "output": "{}"}, "missing_required_parameter", "item.call_id"),
        ({"type": "function_call_output", "call_id": "c", "output": {"a": 1}}, "invalid_type", "item.output"),
        ({"type": "function_call_output", "call_id": "", "output": ""}, "invalid_value", "item.call_id"),
        ({"type": "function_call_output", "call_id": 5, "output": ""}, "invalid_type", "item.call_id"),
        ({"type": "function_call", "arguments": ""}, "missing_required_parameter", "item.name"),
        ({"type": "function_call", "name": "two words"}, "invalid_value", "item.name"),
        ({"type": "function_call", "name": "f", "arguments": {}}, "invalid_type", "item.arguments"),
        ({"type": "item_reference", "id": "i"}, "unsupported_item", "item.type"),
        ({"type": "mcp_approval_response", "approve": True}, "unsupported_item", "item.type"),
        ({"type": "transfer"}, "unsupported_item", "item.type"),
        ({}, "missing_required_parameter", "item.type"),
        ({"type": "message", "content": []}, "missing_required_parameter", "item.role"),
        ({"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
        ({"type": "message", "role": "robot", "content": []}, "invalid_value", "item.role"),
        (message("user", {"type": "input_text"}), "missing_required_parameter", "item.content[0].text"),
        (message("user", {"type": "input_audio", "audio": "AAAA"}), "unsupported_content", "item.content[0].audio"),
        (message("system", {"type": "input_audio", "transcript": ""}), "invalid_value", "item.content[0].type"),
        (message("user", {"type": "smell"}), "invalid_value", "item.content[0].type"),
        (message("user", {"type": "input_text", "text": 5}), "invalid_type", "item.content[0].text"),
        (message("user", id=""), "invalid_value", "item.id"),
        ([], "invalid_type", "item"),
    ],
)
def test_items_that_are_refused(item: object, code: str, param: str) -> None:
    answer = error(say(protocol(), "conversation.item.create", item=item, event_id="mine"))
    assert (answer["code"], answer["param"], answer["event_id"]) == (code, param, "mine")


@pytest.mark.parametrize(
    ("response", "code", "param"),
    [
        ({"output_modalities": ["text", "audio"]}, "invalid_value", "response.output_modalities"),
        ({"output_modalities": ["video"]}, "invalid_value", "response.output_modalities[0]"),
        ({"conversation": "other"}, "invalid_value", "response.conversation"),
        ({"max_output_tokens": 0}, "invalid_value", "response.max_output_tokens"),
        ({"max_output_tokens": 1.5}, "invalid_type", "response.max_output_tokens"),
        ({"instructions": 5}, "invalid_type", "response.instructions"),
        ({"metadata": {"a": 1}}, "invalid_type", "response.metadata[...]"),
        ({"metadata": {"a": "x" * 513}}, "invalid_value", "response.metadata[...]"),
        ({"metadata": {str(n): "" for n in range(17)}}, "invalid_value", "response.metadata"),
        ({"audio": {"output": {"format": {"type": "audio/pcmu"}}}}, "unsupported_parameter", None),
        ({"input": [{"type": "item_reference"}]}, "missing_required_parameter", "response.input[0].id"),
        ({"input": [{"type": "item_reference", "id": "x"}] * 2001}, "invalid_value", "response.input"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "unsupported_tool", "response.tools[0].type"),
        ({"tools": [{"type": "function", "name": "f"}] * 2}, "invalid_value", "response.tools[1].name"),
        ({"tool_choice": "maybe"}, "invalid_value", "response.tool_choice"),
        ({"voiceagent": {"words": ""}}, "invalid_value", "response.voiceagent.words"),
        ({"voiceagent": {"words": "w" * 10_001}}, "invalid_value", "response.voiceagent.words"),
        ({"voiceagent": {"protected": 1}}, "invalid_type", "response.voiceagent.protected"),
        ({"voiceagent": []}, "invalid_type", "response.voiceagent"),
    ],
)
def test_responses_that_are_refused(response: object, code: str, param: str | None) -> None:
    answer = error(say(protocol(), "response.create", response=response, event_id="mine"))
    assert (answer["code"], answer["event_id"]) == (code, "mine")
    assert answer["param"] == (param or "response.audio.output.format")


def test_our_own_key_of_a_response() -> None:
    ours = {"protected": True, "words": "This call is recorded."}
    (command,) = asked(say(protocol(), "response.create", response={"voiceagent": ours}))
    assert command == commands.CreateResponse(protected=True, words="This call is recorded.")
    nothing: list[dict[str, object]] = [{"voiceagent": {}}, {"voiceagent": None}]
    for response in nothing:
        assert asked(say(protocol(), "response.create", response=response)) == [commands.CreateResponse()]


# -- pictures ---------------------------------------------------------------------------------------------------------

IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}


def test_pictures_are_left_out_and_that_is_no_error() -> None:
    """Any error would end the talk with Pipecat, which sends a video as pictures."""
    realtime = protocol()
    text = {"type": "input_text", "text": "What is this?"}
    warning, ask = say(realtime, "conversation.item.create", item=message("user", text, IMAGE), event_id="mine")
    (told,) = sent([warning])
    assert (told["type"], told["code"]) == ("voiceagent.warning", "unsupported_content")
    assert (told["param"], told["client_event_id"]) == ("item.content[1]", "mine")
    item = Item("item_2", "user", (Part("text", "What is this?"), Part("text", PICTURE)))
    assert ask == Execute(commands.CreateItem(item), "mine")
    _, ask = say(realtime, "conversation.item.create", item=message("user", IMAGE, IMAGE))
    assert asked([ask]) == [commands.CreateItem(Item("item_4", "user", (Part("text", ""), Part("text", ""))))]


def test_pictures_in_a_responses_input() -> None:
    warning, ask = say(protocol(), "response.create", response={"input": [message("user", IMAGE)]})
    assert sent([warning])[0]["param"] == "response.input[0].content[0]"
    (command,) = asked([ask])
    assert command == commands.CreateResponse(input=(Item("item_2", "user", (Part("text", PICTURE),)),))


# -- references -------------------------------------------------------------------------------------------------------


def test_referenced_items_are_asked_for_before_the_response() -> None:
    realtime = protocol()
    context = [{"type": "item_reference", "id": id_} for id_ in ("a", "b", "a")] + [message("user", id="mine")]
    actions = say(realtime, "response.create", response={"input": context, "conversation": "none"}, event_id="e")
    assert actions == [Execute(commands.RetrieveItem("a"), "e"), Execute(commands.RetrieveItem("b"), "e")]
    first, second = Item("a", "user", (Part("text", "A"),)), Item("b", "assistant", (Part("text", "B"),))
    assert realtime.encode(events.ItemRetrieved(first)) == []
    (ask,) = realtime.encode(events.ItemRetrieved(second))
    command = commands.CreateResponse(input=(first, second, first, Item("mine", "user")), store=False)
    assert ask == Execute(command, "e")
    (told,) = realtime.encode(events.ItemRetrieved(first))  # this one the client asked for
    assert "conversation.item.retrieved" in str(told)


def test_a_reference_to_nothing_is_one_error() -> None:
    realtime = protocol()
    context = [{"type": "item_reference", "id": id_} for id_ in ("a", "b", "c")]
    assert len(say(realtime, "response.create", response={"input": context}, event_id="mine")) == 3
    gone = Refused("item_retrieve_invalid_item_id", "there is no item with id 'a'", "item_id")
    answer = error(Send(frame) for frame in realtime.refuse(gone, "mine"))
    assert (answer["code"], answer["param"], answer["event_id"]) == ("invalid_value", "response.input", "mine")
    assert realtime.encode(events.ItemRetrieved(Item("b", "user"))) == []
    assert realtime.refuse(gone, "mine") == []
    assert error(Send(frame) for frame in realtime.refuse(gone, "x"))["code"] == "item_retrieve_invalid_item_id"


def test_clearing_what_only_webrtc_has_is_no_error() -> None:
    assert say(protocol(), "output_audio_buffer.clear", event_id="mine") == []


@pytest.mark.parametrize(
    ("frame", "code", "ref"),
    [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ("nonsense", "invalid_json", None),
        ('{"type": "response.create", "event_id": "\ud800"}', "invalid_json", None),
        ("[" * 100_000, "invalid_type", None),
        ('{"type": "response.create", "x": ' + "[" * 100_000, "invalid_json", None),
        ("[]", "invalid_type", None),
        ("5", "invalid_type", None),
        ("null", "invalid_type", None),
        ("{}", "missing_required_parameter", None),
        ('{"event_id": "mine"}', "missing_required_parameter", "mine"),
        ('{"type": 5, "event_id": "mine"}', "invalid_value", "mine"),
        ('{"type": "response.audio.delta", "event_id": "mine"}', "invalid_value", "mine"),
        ('{"type": "response.create", "event_id": 5}', "invalid_type", None),
        (json.dumps({"type": "response.cancel", "event_id": "x" * 513}), "invalid_value", None),
        ('{"type": "conversation.item.delete", "event_id": "mine"}', "missing_required_parameter", "mine"),
        ('{"type": "conversation.item.delete", "item_id": null, "event_id": "mine"}', "invalid_type", "mine"),
        (
            '{"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": 1.5, "event_id": "mine"}',
            "invalid_type",
            "mine",
        ),
        (b"\x00\x01", "invalid_message", None),
        (b'{"type": "response.create"}', "invalid_message", None),
    ],
)
def test_malformed_messages(frame: str | bytes, code: str, ref: str | None) -> None:
    realtime = protocol()
    answer = error(realtime.receive(frame))
    assert (answer["type"], answer["code"], answer["event_id"]) == ("invalid_request_error", code, ref)
    assert asked(say(realtime, "response.create")) == [commands.CreateResponse()]


def test_an_error_never_repeats_what_the_client_wrote() -> None:
    realtime = protocol()
    for frame in (
        '{"type": "my secret"}',
        '{"type": "session.update", "session": {"type": "my secret"}}',
        '{"type": "session.update", "session": {"type": "realtime", "truncation": "my \' secret"}}',
        '{"type": "session.update", "session": {"type": "realtime", "truncation": "secret - at `$.secret`"}}',
        '{"type": "conversation.item.create", "item": {"type": "my secret"}}',
    ):
        assert "secret" not in str(error(realtime.receive(frame)))


@pytest.mark.parametrize(
    ("refused", "start"),
    [
        (Refused("response_cancel_not_active", "nothing"), "Cancellation failed"),
        (Refused("conversation_already_has_active_response", "busy"), "response.create"),
        (Refused("item_retrieve_invalid_item_id", "No such item.", "item_id"), "No such item."),
        (Refused("input_audio_buffer_commit_empty", "Too little audio."), "Too little audio."),
        (Refused("item_create_duplicate_item_id", "It exists."), "It exists."),
    ],
)
def test_refusals_of_the_session(refused: Refused, start: str) -> None:
    answer = error(Send(frame) for frame in protocol().refuse(refused, "rci_item_1"))
    assert answer["code"] == refused.code
    assert str(answer["message"]).startswith(start)
    assert (answer["type"], answer["event_id"], answer["param"]) == (
        "invalid_request_error",
        "rci_item_1",
        refused.param,
    )
