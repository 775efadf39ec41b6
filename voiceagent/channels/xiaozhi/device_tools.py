"""A device's own tools (volume, brightness, camera …): JSON-RPC 2.0 of the Model Context Protocol, the device being the
server. Without I/O: what is to be sent is returned."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from voiceagent.channels.xiaozhi.messages import MAX_JSON, shortened
from voiceagent.channels.xiaozhi.tool_messages import (
    DeviceAnswer,
    DeviceTool,
    DeviceToolDescription,
    ResultBody,
    ServerInfo,
    fit,
    named,
    outcome,
    read_answer,
    read_tool,
)
from voiceagent.llm.base import ToolSpec

# Which calls of a client's tools are still to be answered before the agent goes on.


class PendingCalls:
    """A response's calls. The agent goes on once the response is over and all its calls are answered."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        """The response of each call that is not answered."""
        self._ongoing: set[str] = set()
        """Replies that have made calls and are not over."""
        self._awaited: set[str] = set()
        """Replies after whose calls the agent is to go on."""

    def made(self, response_id: str, call_id: str) -> None:
        self._open[call_id] = response_id
        self._ongoing.add(response_id)
        self._awaited.add(response_id)

    def answered(self, call_id: str) -> bool:
        """Whether the agent is to go on now."""
        response_id = self._open.pop(call_id, None)
        return response_id is not None and self._complete(response_id)

    def done(self, response_id: str, *, cancelled: bool) -> bool:
        """The response is over; whether the agent is to go on now."""
        if response_id not in self._ongoing:
            return False
        self._ongoing.discard(response_id)
        if cancelled:
            self._awaited.discard(response_id)
        return self._complete(response_id)

    def abandon(self) -> None:
        """The user has the floor: results are noted, and wait for what the user says."""
        self._awaited.clear()

    def _complete(self, response_id: str) -> bool:
        if response_id not in self._awaited or response_id in self._ongoing or response_id in self._open.values():
            return False
        self._awaited.discard(response_id)
        return True


PROTOCOL = "2024-11-05"
MAX_TOOLS = 64
MAX_PAGES = 32
MAX_PENDING = 16
"""Calls that may wait for a device, which does one after the other."""
ASKING_SECONDS = 10.0
"""How long a device may take to introduce itself or to list a page of its tools."""
_OBJECT = msgspec.json.Decoder(dict[str, object])
_JSON = msgspec.json.Encoder()


class ToolCache:
    """The tools of devices of the same tenant, board and firmware, so that their first turn need not wait for a list.
    Shared by all conversations of a process; the oldest goes."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._tools: OrderedDict[tuple[str, str, str], tuple[DeviceTool, ...]] = OrderedDict()

    def get(self, key: tuple[str, str, str]) -> tuple[DeviceTool, ...] | None:
        return self._tools.get(key)

    def put(self, key: tuple[str, str, str], tools: tuple[DeviceTool, ...]) -> None:
        self._tools[key] = tools
        self._tools.move_to_end(key)
        if len(self._tools) > self._size:
            self._tools.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Vision:
    """Where a device uploads its photos; empty where nobody looks at them."""

    url: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """Send this payload, and call `expire(id)` after so many seconds. Without an `id` no answer comes."""

    payload: Mapping[str, object]
    id: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceToolOffer:
    """The device's tools are known, or known better."""

    tools: tuple[ToolSpec, ...]


@dataclass(frozen=True, slots=True)
class DeviceToolResult:
    """A call is over: a text for the model."""

    call_id: str
    output: str


Step = DeviceRequest | DeviceToolOffer | DeviceToolResult


class DeviceTools:
    """One connection's."""

    def __init__(self, tenant: str, cache: ToolCache, vision: Vision, call_seconds: float) -> None:
        self._tenant = tenant
        self._cache = cache
        self._vision = vision
        self._call_seconds = call_seconds
        self._tools: tuple[DeviceTool, ...] = ()
        self._listed: list[DeviceToolDescription] = []
        self._cursors: set[str] = set()
        self._key = (tenant, "", "")
        self._last_id = 0
        self._asked: dict[int, str] = {}
        """What each id waits for: "initialize", "tools/list", or a call as "call:" and its id."""

    def start(self) -> list[Step]:
        """The device has tools: get to know it."""
        vision = {"url": self._vision.url, "token": self._vision.token}
        params = {
            "protocolVersion": PROTOCOL,
            "capabilities": {"vision": vision},
            "clientInfo": {"name": "voiceagent", "version": "1"},
        }
        return [self._request("initialize", params, "initialize", ASKING_SECONDS)]

    def receive(self, payload: bytes | Raw) -> list[Step]:
        """A message of the device. What answers no question of ours has no effect."""
        try:
            return self.answered(read_answer(payload))
        except ValueError:
            return []

    def answered(self, answer: DeviceAnswer) -> list[Step]:
        if answer.id is None or (answer.result is None and answer.error is None):
            return []
        asked = self._asked.pop(answer.id, "")
        match asked.partition(":"):
            case ("call", _, call_id):
                return [DeviceToolResult(call_id, outcome(answer))]
            case ("initialize", _, _) if answer.result is not None:
                return self._introduced(answer.result.serverInfo or ServerInfo())
            case ("tools/list", _, _):
                return self._page(answer.result or ResultBody())
        return []

    def call(self, call_id: str, name: str, arguments: str) -> list[Step]:
        """The model calls a tool. `arguments` is JSON as the model wrote it."""
        tool = next((tool for tool in self._tools if tool.spec.name == name), None)
        if tool is None:
            return [DeviceToolResult(call_id, "Error: the device has no such tool.")]
        try:
            given = _OBJECT.decode(arguments or "{}")
        except (ValueError, RecursionError):
            return [DeviceToolResult(call_id, "Error: the arguments are not a JSON object.")]
        if len(self._asked) >= MAX_PENDING:
            return [DeviceToolResult(call_id, "Error: the device is busy.")]
        fitted = fit(given, tool.spec.parameters or {})
        params: dict[str, object] = {"name": tool.name, "arguments": fitted}
        if len(_JSON.encode(params)) > MAX_JSON:
            return [DeviceToolResult(call_id, "Error: the arguments are too long for the device.")]
        return [self._request("tools/call", params, f"call:{call_id}", self._call_seconds)]

    def expire(self, request_id: int) -> list[Step]:
        """The device has not answered in time."""
        asked = self._asked.pop(request_id, "")
        if asked.startswith("call:"):
            return [DeviceToolResult(asked.removeprefix("call:"), "Error: the device did not answer in time.")]
        if asked == "tools/list":  # better those it told than none
            return self._all_listed()
        return []

    # -- the list ---------------------------------------------------------------------------------------------------

    def _introduced(self, info: ServerInfo) -> list[Step]:
        """Offer what devices like this one have; its own list follows and counts."""
        self._key = (self._tenant, shortened(info.name, 64), shortened(info.version, 64))
        steps: list[Step] = [DeviceRequest({"jsonrpc": "2.0", "method": "notifications/initialized"}), self._list("")]
        known = self._cache.get(self._key) if info.name else None
        return [*steps, *(self._offer(known) if known else [])]

    def _page(self, result: ResultBody) -> list[Step]:
        for raw in (result.tools or [])[:MAX_TOOLS]:
            tool = read_tool(raw)
            if tool is not None and len(self._listed) < MAX_TOOLS:
                self._listed.append(tool)
        cursor = result.nextCursor
        known = not cursor or cursor in self._cursors
        if known or len(self._cursors) >= MAX_PAGES or len(self._listed) >= MAX_TOOLS:
            return self._all_listed()
        assert cursor is not None
        return [self._list(shortened(cursor, MAX_JSON // 4))]

    def _list(self, cursor: str) -> DeviceRequest:
        self._cursors.add(cursor)
        params = {"cursor": cursor, "withUserTools": False}
        return self._request("tools/list", params, "tools/list", ASKING_SECONDS)

    def _all_listed(self) -> list[Step]:
        tools, self._listed = named(self._listed), []
        if self._key[1]:
            self._cache.put(self._key, tools)
        return self._offer(tools)

    def _offer(self, tools: tuple[DeviceTool, ...]) -> list[Step]:
        if tools == self._tools:
            return []
        self._tools = tools
        return [DeviceToolOffer(tuple(tool.spec for tool in tools))]

    def _request(self, method: str, params: Mapping[str, object], asked: str, seconds: float) -> DeviceRequest:
        self._last_id += 1
        self._asked[self._last_id] = asked
        payload = {"jsonrpc": "2.0", "method": method, "params": params, "id": self._last_id}
        return DeviceRequest(payload, self._last_id, seconds)
