"""A device with the xiaozhi-esp32 firmware between power-on and its first talk, as its sources behave: what it asks by
HTTP, what it keeps in flash, and what of an answer would make it reboot, loop or talk to somebody else."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import httpx

from tests.support.xiaozhi.device import Crash, Json
from tests.support.xiaozhi.socket import MAC

CLIENT_ID = "7f1d2c3b-0000-4000-8000-a0b1c2d3e4f5"
MAX_KEY = 15
MAX_VALUE = 4000
TRIES = 10
_URL = re.compile(r"(ws|wss)://([^/:?#@\[\]]+)(:[0-9]+)?(/[^?]*(\?.*)?)?")


@dataclass
class Booted:
    """What a boot has come to. `answers` are all that OTA told, `codes` what the device said aloud."""

    url: str
    token: str
    version: int
    activated: bool
    answers: list[Json]
    codes: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Of `/activate`."""
    upgrade: str = ""
    """The address of the firmware that it would load now."""


@dataclass
class Flash:
    """`websocket` is the namespace of that name."""

    mac: str = MAC
    client_id: str = CLIENT_ID
    websocket: dict[str, str | int] = field(default_factory=dict)
    version: str = "2.4.2"
    board: str = "bread-compact-wifi"
    chip: str = "esp32s3"
    serial: str = ""
    language: str = "en-US"
    proof: Json = field(default_factory=dict)
    """What it adds to the body of `/activate`."""

    def headers(self) -> dict[str, str]:
        told = {
            "Device-Id": self.mac,
            "Client-Id": self.client_id,
            "Activation-Version": "2" if self.serial else "1",
            "User-Agent": f"{self.board}/{self.version}",
            "Accept-Language": self.language,
            "Content-Type": "application/json",
            "Connection": "close",
        }
        return {**told, "Serial-Number": self.serial} if self.serial else told

    def body(self) -> Json:
        return {
            "version": 2,
            "language": self.language,
            "flash_size": 16777216,
            "minimum_free_heap_size": "8318916",
            "mac_address": self.mac,
            "uuid": self.client_id,
            "chip_model_name": self.chip,
            "chip_info": {"model": 9, "cores": 2, "revision": 2, "features": 18},
            "application": {"name": "xiaozhi", "version": self.version, "compile_time": "", "idf_version": "v5.5"},
            "partition_table": [{"label": "nvs", "type": 1, "subtype": 2, "address": 36864, "size": 16384}],
            "ota": {"label": "ota_0"},
            "board": {"type": self.board, "name": self.board, "ssid": "家", "rssi": -50, "ip": "192.168.1.7"},
        }


async def boot(http: httpx.AsyncClient, ota_url: str, flash: Flash) -> Booted:
    """One round of it: asked, and once more after activation. Raises Crash."""
    activate_url = ota_url + ("activate" if ota_url.endswith("/") else "/activate")
    booted = take(await ask(http, ota_url, flash), flash)
    if booted.activated:
        return booted
    activation = cast(Json, booted.answers[0]["activation"])
    if "code" in activation:
        assert isinstance(activation["message"], str)
        booted.codes.append(cast(str, activation["code"]))
    response = await http.post(activate_url, headers=flash.headers(), json=flash.proof)
    booted.statuses.append(response.status_code)
    if response.status_code == 200:
        again = take(await ask(http, ota_url, flash), flash)
        if not again.activated:
            raise Crash("it asks for ever, without a pause")
        again.statuses, again.codes = booted.statuses, booted.codes
        return again
    return booted


async def ask(http: httpx.AsyncClient, ota_url: str, flash: Flash) -> Json:
    response = await http.post(ota_url, headers=flash.headers(), json=flash.body())
    if response.status_code != 200:
        raise Crash(f"no settings: {response.status_code}")
    return cast(Json, json.loads(response.content))


def take(answer: Json, flash: Flash) -> Booted:
    """What the firmware does with an answer."""
    if "mqtt" in answer or not isinstance(answer.get("websocket"), dict):
        raise Crash("it uses MQTT")
    told = cast(Json, answer["websocket"])
    for key, value in told.items():
        if len(key) > MAX_KEY or (isinstance(value, str) and len(value) > MAX_VALUE):
            raise Crash(f"{key} does not fit into flash")
        if isinstance(value, str | int):
            flash.websocket[key] = value
    assert set(told) == {"url", "token", "version"}
    url = cast(str, flash.websocket["url"])
    if not _URL.fullmatch(url):
        raise Crash(f"it cannot connect to {url}")
    if "server_time" in answer:
        time = cast(Json, answer["server_time"])
        assert isinstance(time["timestamp"], int)
        assert isinstance(time["timezone_offset"], int)
    return Booted(
        url,
        cast(str, flash.websocket["token"]),
        cast(int, flash.websocket["version"]),
        "activation" not in answer,
        [answer],
        upgrade=upgrade(answer, flash),
    )


def upgrade(answer: Json, flash: Flash) -> str:
    if "firmware" not in answer:
        return ""
    told = cast(Mapping[str, object], answer["firmware"])
    offered, running = numbers(cast(str, told["version"])), numbers(flash.version)
    return cast(str, told["url"]) if offered > running or told.get("force") == 1 else ""


def numbers(version: str) -> list[int]:
    """Compared as lists are: number by number, then the longer one is newer."""
    for part in version.split("."):
        if not re.fullmatch(r"[0-9]+", part) or int(part) > 2**31 - 1:
            raise Crash(f"std::invalid_argument: {version}")
    return [int(part) for part in version.split(".")]
