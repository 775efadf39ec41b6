"""A device's own tools: how they are got to know, offered, called and answered."""

import json
from typing import cast

import pytest

from tests.support.xiaozhi.device import Device, Json
from tests.support.xiaozhi.line import Line, line
from voiceagent.channels.xiaozhi.device_tools import ASKING_SECONDS, MAX_TOOLS, ToolCache, Vision
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.llm.base import ToolSpec
from voiceagent.session import commands, events
from voiceagent.session.conversation import FunctionCall, FunctionOutput

VOLUME: Json = {
    "name": "self.audio_speaker.set_volume",
    "description": "Set the volume.",
    "inputSchema": {
        "type": "object",
        "properties": {"volume": {"type": "integer", "minimum": 0, "maximum": 100}},
        "required": ["volume"],
    },
}
STATUS: Json = {
    "name": "self.get_device_status",
    "description": "状态",
    "inputSchema": {"type": "object", "properties": {}},
}
PHOTO: Json = {
    "name": "self.camera.take_photo",
    "description": "Look.",
    "inputSchema": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
}
REBOOT: Json = {
    "name": "self.reboot_now",
    "description": "",
    "inputSchema": {"type": "object", "properties": {}},
    "annotations": {"audience": ["user"]},
}


def requests(talk: Line) -> list[Json]:
    return [cast(Json, told["payload"]) for told in talk.device.of("mcp")]


def request(talk: Line, method: str) -> Json:
    return [asked for asked in requests(talk) if asked["method"] == method][-1]


def answer(talk: Line, to: Json, **fields: object) -> None:
    payload = {"jsonrpc": "2.0", "id": to["id"], **fields}
    talk.act(talk.protocol.receive(json.dumps({"session_id": "", "type": "mcp", "payload": payload})))


def introduce(talk: Line, name: str = "bread-compact-wifi", version: str = "2.4.2") -> None:
    result = {
        "protocolVersion": "2024-11-05",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": name, "version": version},
    }
    answer(talk, request(talk, "initialize"), result=result)


def list_tools(talk: Line, *tools: Json, cursor: str = "") -> None:
    page: Json = {"tools": list(tools)}
    if cursor:
        page["nextCursor"] = cursor
    answer(talk, request(talk, "tools/list"), result=page)


def offered(talk: Line) -> tuple[ToolSpec, ...]:
    return talk.asked(commands.Configure)[-1].options.tools


def ready(*tools: Json, section: XiaozhiSection | None = None, cache: ToolCache | None = None) -> Line:
    talk = line(section, cache=cache, device=Device(mcp=True)).listen()
    introduce(talk)
    list_tools(talk, *tools)
    return talk


def call(talk: Line, name: str, arguments: str = "{}", call_id: str = "call_1", response_id: str = "resp_1") -> None:
    item = FunctionCall(f"item_{call_id}", call_id, name, arguments)
    talk.tell(events.ToolCalled(response_id, item, None, by_client=True))


def outputs(talk: Line) -> list[tuple[str, str]]:
    items = [command.item for command in talk.asked(commands.CreateItem)]
    return [(item.call_id, item.output) for item in items if isinstance(item, FunctionOutput)]


# -- getting to know them ---------------------------------------------------------------------------------------------


def test_a_device_without_tools_is_not_asked() -> None:
    assert requests(line(device=Device(mcp=False)).listen()) == []


@pytest.mark.parametrize("vision", [Vision(), Vision("http://10.0.0.1:8000/xiaozhi/vision", "vision_1")])
def test_the_introduction_always_names_where_photos_go(vision: Vision) -> None:
    talk = line(vision=vision, device=Device(mcp=True)).greet()
    (initialize,) = requests(talk)
    assert initialize == {
        "jsonrpc": "2.0",
        "method": "initialize",
        "params": {
            "protocolVersion": "2024-11-05",
            "capabilities": {"vision": {"url": vision.url, "token": vision.token}},
            "clientInfo": {"name": "voiceagent", "version": "1"},
        },
        "id": 1,
    }


def test_the_list_comes_page_by_page_and_users_tools_are_never_asked_for() -> None:
    talk = line(device=Device(mcp=True)).listen()
    introduce(talk)
    assert requests(talk)[1] == {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert request(talk, "tools/list")["params"] == {"cursor": "", "withUserTools": False}
    list_tools(talk, VOLUME, cursor="self.get_device_status")
    assert request(talk, "tools/list")["params"] == {"cursor": "self.get_device_status", "withUserTools": False}
    assert not offered(talk)
    list_tools(talk, STATUS)
    assert [tool.name for tool in offered(talk)] == ["self_audio_speaker_set_volume", "self_get_device_status"]
    assert offered(talk)[1].description == "状态"
    assert offered(talk)[0].parameters == VOLUME["inputSchema"]


def test_tools_that_are_for_the_user_only_are_never_offered() -> None:
    upgrade = {**STATUS, "name": "self.upgrade_firmware"}  # firmware that forgets to say so
    both = {**STATUS, "name": "self.lamp.on", "annotations": {"audience": ["user", "assistant"]}}
    talk = ready(VOLUME, REBOOT, upgrade, both)
    assert [tool.name for tool in offered(talk)] == ["self_audio_speaker_set_volume", "self_lamp_on"]
    call(talk, "self_reboot_now")
    assert outputs(talk) == [("call_1", "Error: the device has no such tool.")]
    assert request(talk, "tools/list") is requests(talk)[-1]


def test_names_fit_model_endpoints_and_lead_back() -> None:
    twins = [{**STATUS, "name": name} for name in ("self.dog.forward", "self_dog.forward", "狗.前进", "x" * 90)]
    talk = ready(*twins)
    names = [tool.name for tool in offered(talk)]
    assert names == ["self_dog_forward", "self_dog_forward_2", "____", "x" * 64]
    for name, twin in zip(names, twins, strict=True):
        call(talk, name)
        assert request(talk, "tools/call")["params"]["name"] == twin["name"]  # type: ignore[index]


def test_a_list_that_leads_in_circles_ends() -> None:
    talk = line(device=Device(mcp=True)).listen()
    introduce(talk)
    for number in range(3):
        list_tools(talk, {**STATUS, "name": f"tool{number}"}, cursor="again")
    assert [tool.name for tool in offered(talk)] == ["tool0", "tool1"]
    endless = line(device=Device(mcp=True)).listen()
    introduce(endless)
    for number in range(200):
        asked = len(requests(endless))
        list_tools(endless, {**STATUS, "name": f"tool{number}"}, cursor=f"tool{number + 1}")
        if len(requests(endless)) == asked:
            break
    assert len(requests(endless)) < 40
    assert 0 < len(offered(endless)) <= MAX_TOOLS


def test_a_device_that_lists_no_further_is_taken_at_what_it_told() -> None:
    talk = line(device=Device(mcp=True)).listen()
    introduce(talk)
    list_tools(talk, VOLUME, cursor="more")
    talk.run(ASKING_SECONDS + 0.1)
    assert [tool.name for tool in offered(talk)] == ["self_audio_speaker_set_volume"]


def test_what_is_no_tool_is_left_out() -> None:
    wrong: list[object] = [
        {**VOLUME, "inputSchema": "none"},
        {**VOLUME, "name": 7},
        {**VOLUME, "name": ""},
        {**VOLUME, "annotations": "user"},
        {**VOLUME, "description": "x" * 9_000},
        7,
        None,
    ]
    talk = line(device=Device(mcp=True)).listen()
    introduce(talk)
    answer(talk, request(talk, "tools/list"), result={"tools": [*wrong, STATUS]})
    assert [tool.name for tool in offered(talk)] == ["self_get_device_status"]


# -- those of the same board and firmware -----------------------------------------------------------------------------


def test_the_first_turn_need_not_wait_for_the_list() -> None:
    cache = ToolCache()
    ready(VOLUME, cache=cache)
    talk = line(cache=cache, device=Device(mcp=True)).listen()
    introduce(talk)
    assert [tool.name for tool in offered(talk)] == ["self_audio_speaker_set_volume"]
    list_tools(talk, VOLUME, STATUS)  # its own list counts, for itself and for those to come
    assert len(offered(talk)) == 2
    third = line(cache=cache, device=Device(mcp=True)).listen()
    introduce(third)
    assert len(offered(third)) == 2


def test_a_list_that_is_known_changes_nothing() -> None:
    cache = ToolCache()
    ready(VOLUME, cache=cache)
    talk = ready(VOLUME, cache=cache)
    assert len(talk.asked(commands.Configure)) == 2  # the hello's, and the tools


@pytest.mark.parametrize(
    ("name", "version"), [("other-board", "2.4.2"), ("bread-compact-wifi", "2.4.3"), ("", "2.4.2")]
)
def test_other_boards_firmware_and_nameless_ones_do_not_share(name: str, version: str) -> None:
    cache = ToolCache()
    first = line(cache=cache, device=Device(mcp=True)).listen()
    introduce(first, name if not name else "bread-compact-wifi")
    list_tools(first, VOLUME)
    talk = line(cache=cache, device=Device(mcp=True)).listen()
    introduce(talk, name, version)
    assert offered(talk) == ()


def test_the_cache_is_bounded() -> None:
    cache = ToolCache(size=3)
    for number in range(10):
        cache.put(("t", f"board{number}", "1"), ())
    assert [cache.get(("t", f"board{number}", "1")) for number in (6, 7)] == [None, ()]


# -- calls ------------------------------------------------------------------------------------------------------------


def test_a_call_and_its_result() -> None:
    talk = ready(VOLUME)
    call(talk, "self_audio_speaker_set_volume", '{"volume": 40}')
    asked = request(talk, "tools/call")
    assert asked["params"] == {"name": "self.audio_speaker.set_volume", "arguments": {"volume": 40}}
    assert type(asked["id"]) is int
    answer(talk, asked, result={"content": [{"type": "text", "text": "true"}], "isError": False})
    assert outputs(talk) == [("call_1", "true")]
    assert not talk.asked(commands.CreateResponse)  # the reply that called is not over
    talk.tell(events.ResponseDone("resp_1", None, None, "completed"))
    assert len(talk.asked(commands.CreateResponse)) == 1


def test_the_agent_goes_on_once_all_calls_are_answered() -> None:
    talk = ready(VOLUME, STATUS)
    call(talk, "self_audio_speaker_set_volume", '{"volume": 40}', "call_1")
    first = request(talk, "tools/call")
    call(talk, "self_get_device_status", "", "call_2")
    second = request(talk, "tools/call")
    talk.tell(events.ResponseDone("resp_1", None, None, "completed"))
    answer(talk, second, result={"content": [{"type": "text", "text": "{}"}]})
    assert not talk.asked(commands.CreateResponse)
    answer(talk, first, result={"content": [{"type": "text", "text": "true"}]})
    assert len(talk.asked(commands.CreateResponse)) == 1
    answer(talk, first, result={"content": [{"type": "text", "text": "twice"}]})
    assert outputs(talk) == [("call_2", "{}"), ("call_1", "true")]
    assert len(talk.asked(commands.CreateResponse)) == 1


@pytest.mark.parametrize(
    ("told", "output"),
    [
        ({"error": {"message": "Unknown tool: x"}}, "Error: Unknown tool: x"),
        ({"error": {}}, "Error: the call failed."),
        ({"result": {"content": [{"type": "text", "text": "no"}], "isError": True}}, "Error: no"),
        ({"result": {"content": []}}, "Done."),
        ({"result": {"content": [{"type": "image", "image": '{"seen": "a cat"}'}]}}, '{"seen": "a cat"}'),
        ({"result": {"content": [{"text": "a"}, {"text": "b"}]}}, "a\nb"),
        ({"result": {"content": "nonsense"}}, "Error: the answer could not be read."),
        ({"result": {"content": [{"type": "text", "text": "x" * 20_000}]}}, "x" * 8_000),
    ],
)
def test_what_the_model_is_told_of_a_call(told: Json, output: str) -> None:
    talk = ready(STATUS)
    call(talk, "self_get_device_status")
    answer(talk, request(talk, "tools/call"), **told)
    assert outputs(talk) == [("call_1", output)]


def test_an_error_that_the_firmware_did_not_escape_is_understood() -> None:
    talk = ready(STATUS)
    call(talk, "self_get_device_status")
    number = request(talk, "tools/call")["id"]
    error = f'{{"jsonrpc":"2.0","id":{number},"error":{{"message":"bad "volume" given"}}}}'
    talk.act(talk.protocol.receive(f'{{"session_id":"","type":"mcp","payload":{error}}}'))
    assert outputs(talk) == [("call_1", 'Error: bad "volume" given')]


def test_a_call_that_is_not_answered_fails_in_time() -> None:
    talk = ready(STATUS, section=XiaozhiSection(tool_seconds=3))
    call(talk, "self_get_device_status")
    late = request(talk, "tools/call")
    talk.tell(events.ResponseDone("resp_1", None, None, "completed"))
    talk.run(2.9)
    assert not outputs(talk)
    talk.run(0.2)
    assert outputs(talk) == [("call_1", "Error: the device did not answer in time.")]
    assert len(talk.asked(commands.CreateResponse)) == 1
    answer(talk, late, result={"content": []})
    assert len(outputs(talk)) == 1


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"volume": "40"}', {"volume": 40}),
        ('{"volume": 40.0}', {"volume": 40}),
        ('{"volume": "loud"}', {"volume": "loud"}),
        ('{"volume": 40.5}', {"volume": 40.5}),
        ("", {}),
        ('{"other": 1}', {"other": 1}),
    ],
)
def test_arguments_have_the_types_of_the_schema(arguments: str, sent: Json) -> None:
    talk = ready(VOLUME)
    call(talk, "self_audio_speaker_set_volume", arguments)
    assert request(talk, "tools/call")["params"]["arguments"] == sent  # type: ignore[index]
    assert json.dumps(request(talk, "tools/call")["params"]["arguments"]) == json.dumps(sent)  # type: ignore[index]


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"properties": {"on": {"type": "boolean"}, "name": {"type": "string"}}}, {"on": True, "name": "7"}),
        ({"properties": {"on": {"type": "string"}, "name": {"type": "boolean"}}}, {"on": "True", "name": 7}),
        ({"properties": {"on": True}}, {"on": "True", "name": 7}),
        ({}, {"on": "True", "name": 7}),
    ],
)
def test_booleans_and_strings_too(schema: Json, sent: Json) -> None:
    talk = ready({"name": "lamp", "inputSchema": {"type": "object", **schema}})
    call(talk, "lamp", '{"on": "True", "name": 7}')
    assert request(talk, "tools/call")["params"]["arguments"] == sent  # type: ignore[index]


def test_a_truth_that_is_wanted_as_text_is_text() -> None:
    talk = ready({"name": "lamp", "inputSchema": {"type": "object", "properties": {"on": {"type": "string"}}}})
    call(talk, "lamp", '{"on": true}')
    assert request(talk, "tools/call")["params"]["arguments"] == {"on": "true"}  # type: ignore[index]


@pytest.mark.parametrize("arguments", ["[1]", "loud", '{"volume":', "7", '"' + "x" * 10, "{" * 10_000])
def test_arguments_that_are_none_are_told_the_model_not_the_device(arguments: str) -> None:
    talk = ready(VOLUME)
    before = len(requests(talk))
    call(talk, "self_audio_speaker_set_volume", arguments)
    assert outputs(talk) == [("call_1", "Error: the arguments are not a JSON object.")]
    assert len(requests(talk)) == before


def test_a_device_is_never_sent_more_than_its_heap_takes() -> None:
    talk = ready(PHOTO)
    call(talk, "self_camera_take_photo", json.dumps({"question": "x" * 5_000}))
    assert outputs(talk) == [("call_1", "Error: the arguments are too long for the device.")]
    talk.tell(events.TranscriptDone("u", "长" * 5_000, 1.0))
    talk.reply("word " * 5_000)
    talk.speak(0.06)
    talk.run(0.1)
    assert talk.device.state == "speaking"


def test_calls_do_not_pile_up() -> None:
    talk = ready(STATUS)
    for number in range(20):
        call(talk, "self_get_device_status", call_id=f"call_{number}")
    assert {output for _, output in outputs(talk)} == {"Error: the device is busy."}
    assert len(outputs(talk)) == 4


def test_who_interrupts_a_call_gets_its_result_noted_and_no_answer_to_it() -> None:
    for interruption in (events.SpeechStarted("u", 0), None):
        talk = ready(STATUS)
        call(talk, "self_get_device_status")
        talk.tell(events.ResponseDone("resp_1", None, None, "completed"))
        if interruption is not None:
            talk.tell(interruption)
        else:
            talk.device.abort()
            talk.run(0.01)
        answer(talk, request(talk, "tools/call"), result={"content": [{"type": "text", "text": "{}"}]})
        assert outputs(talk) == [("call_1", "{}")]
        assert not talk.asked(commands.CreateResponse)


def test_a_cancelled_reply_is_not_gone_on_with() -> None:
    talk = ready(STATUS)
    call(talk, "self_get_device_status")
    answer(talk, request(talk, "tools/call"), result={"content": []})
    talk.tell(events.ResponseDone("resp_1", None, None, "cancelled"))
    assert not talk.asked(commands.CreateResponse)


def test_tools_that_the_session_runs_are_its_own_business() -> None:
    talk = ready(STATUS)
    before = len(requests(talk))
    item = FunctionCall("item_1", "call_1", "weather", "{}")
    talk.tell(events.ToolCalled("resp_1", item, None, by_client=False))
    talk.tell(events.ResponseDone("resp_1", None, None, "completed", calls=(item,)))
    assert len(requests(talk)) == before
    assert not talk.asked(commands.CreateResponse)
    assert not outputs(talk)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"id": 99, "result": {}},
        {"id": "1", "result": {}},
        {"id": None, "result": {}},
        {"id": 1.5, "result": {}},
        {"id": 3},
        {"method": "tools/call", "id": 3},
        {"id": -1, "error": {"message": "x"}},
        {"id": True, "result": {}},
        [],
        "text",
        7,
    ],
)
def test_answers_to_nothing_have_no_effect(payload: object) -> None:
    talk = ready(STATUS)
    call(talk, "self_get_device_status")
    before = len(talk.commands)
    assert talk.protocol.receive(json.dumps({"type": "mcp", "payload": payload})) == []
    assert len(talk.commands) == before
