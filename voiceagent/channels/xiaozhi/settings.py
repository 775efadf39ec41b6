"""Settings of the xiaozhi-esp32 devices: the table `[xiaozhi]`."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from voiceagent.section import Milliseconds, Seconds, Section, web_address

# Settings of a fleet of xiaozhi-esp32 devices: who may come in, their firmware, the servers they are spread over.

MAX_ADDRESS = 200
"""Characters of an address that a device is told; it keeps them in flash."""
MAX_DEVICE_ID = 128
MIN_SECRET = 16
_HOST = re.compile(r"(?=.{1,100}$)[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(:[0-9]{1,5})?")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,7}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def reachable_host(host: str) -> bool:
    """Whether the firmware finds a server by this `host[:port]`: it knows neither IPv6 addresses nor user names."""
    return _HOST.fullmatch(host) is not None


def device_address(value: str) -> str:
    """An address by HTTP that devices can be told, without a slash at its end; "" is none. Raises ValueError."""
    if not value:
        return ""
    address = web_address(value)
    host, _, path = address.partition("://")[2].partition("/")
    try:
        ipaddress.IPv6Address(host.strip("[]"))
    except ValueError:
        if not reachable_host(host):
            raise ValueError("devices need a host name or an IPv4 address, and no user name") from None
    else:
        raise ValueError("devices know no IPv6 addresses")
    if "?" in path or "#" in path or len(address) > MAX_ADDRESS:
        raise ValueError(f"must have no query and at most {MAX_ADDRESS} characters")
    return address


def device_id(value: str) -> str:
    """As devices are told apart: lower case. Raises ValueError when it is no id."""
    value = value.strip().lower()
    if not value or len(value) > MAX_DEVICE_ID or not value.isprintable() or {" ", "/"} & set(value):
        raise ValueError("is no id of a device; it is the MAC address, such as a0:b1:c2:d3:e4:f5")
    return value


def tenant_name(value: str) -> str:
    if "/" in value or len(value) > 64 or not value.isprintable():
        raise ValueError("is no name of a tenant: at most 64 characters, no slash")
    return value


def dotted(version: str) -> tuple[int, ...] | None:
    """A version as the firmware compares it, number by number; None for what would make it crash."""
    return tuple(int(part) for part in version.split(".")) if _VERSION.fullmatch(version) else None


def long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_SECRET:
        raise ValueError(f"must have at least {MIN_SECRET} characters")
    return secret


DeviceAddress = Annotated[str, AfterValidator(device_address)]
DeviceId = Annotated[str, AfterValidator(device_id)]
TenantName = Annotated[str, AfterValidator(tenant_name)]
LongSecret = Annotated[SecretStr, AfterValidator(long_enough)]


class FirmwareSection(Section):
    """An image, the one for the app partition. `board` is a pattern (`bread-*`) for the board's name; `percent` of its
    devices get it. `force` gives it to devices of any other version, newer ones too. `url` is where devices load it
    ("": from this server)."""

    board: Annotated[str, Field(min_length=1)]
    version: str
    file: Path
    percent: Annotated[float, Field(ge=0, le=100)] = 100.0
    force: bool = False
    url: DeviceAddress = ""

    @field_validator("version")
    @classmethod
    def _can_be_compared(cls, value: str) -> str:
        if dotted(value) is None:
            raise ValueError(
                "must be numbers with dots between them, such as 2.4.3: anything else crashes the firmware"
            )
        return value

    @field_validator("file")
    @classmethod
    def _fits_an_address(cls, value: Path) -> Path:
        if not _FILE_NAME.fullmatch(value.name):
            raise ValueError("the file's name may have only letters, digits and . _ - and must not begin with a dot")
        return value.expanduser()

    @property
    def number(self) -> tuple[int, ...]:
        return dotted(self.version) or ()


class NodeSection(Section):
    """A server that devices are sent to. `url` is its own `public_url`, `sessions` how many talks it takes, `health`
    where it is asked how it is ("": at its /healthz)."""

    url: Annotated[DeviceAddress, Field(min_length=1)]
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    sessions: Annotated[int, Field(ge=1)] = 500
    health: Annotated[str, AfterValidator(lambda value: web_address(value) if value else "")] = ""

    @property
    def health_url(self) -> str:
        return self.health or f"{self.url}/healthz"


class FleetSection(Section):
    """`access`: "open" lets every device in; "list" those in `allow`, those that an operator allowed and those that
    prove their serial number; "code" those that an operator activated by the code they say. "" is "open" where no API
    keys are configured, else "code".

    `path` is the SQLite file of devices ("" keeps them in memory only). `secret` makes the tokens ("" : one is made and
    kept in that file); those of `old_secrets` count too. `tenant` pays for devices that nobody else was named for.
    `serial_keys` are the keys burnt into devices, by serial number, in hex. `admin_key` opens `/xiaozhi/speakers`.

    `framing` is the binary framing that devices are told to use. `timezone` is the one of their clocks, such as
    `Asia/Shanghai` ("" : the server's). `activation_message` is shown with the code, which takes `{code}`'s place."""

    access: Literal["", "open", "list", "code"] = ""
    path: str = ""
    secret: LongSecret | None = None
    old_secrets: tuple[LongSecret, ...] = ()
    tenant: TenantName = ""
    allow: frozenset[DeviceId] = frozenset()
    serial_keys: Mapping[str, SecretStr] = {}
    admin_key: LongSecret | None = None
    framing: Literal[1, 2, 3] = 1
    timezone: str = ""
    activation_message: Annotated[str, Field(max_length=200)] = ""
    firmware: tuple[FirmwareSection, ...] = ()
    nodes: tuple[NodeSection, ...] = ()

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            if value:
                ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no such time zone is known here; name one such as Asia/Shanghai") from None
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.nodes and self.secret is None:
            raise ValueError("nodes need a secret that all of them share, or they refuse each other's tokens")
        if len({image.file.name for image in self.firmware}) < len({image.file for image in self.firmware}):
            raise ValueError("two firmware files have the same name")
        return self


WAKE_WORDS = (
    "你好小智",
    "小智小智",
    "你好小鑫",
    "小爱同学",
    "小鸭小鸭",
    "小美同学",
    "你好小美",
    "你好喵伴",
    "嗨小智",
    "嗨乐鑫",
    "hi 乐鑫",
    "hi 小智",
    "hi lexin",
    "hi esp",
    "hi xiaozhi",
    "hey xiaozhi",
    "hi jason",
    "hi joy",
    "hi jolly",
    "hi fairy",
    "hi lily",
    "hi telly",
    "hi wall e",
    "hey willow",
    "hey wanda",
    "hey ily",
    "alexa",
    "jarvis",
    "computer",
    "mycroft",
    "sophia",
    "astrolabe",
    "wake word",
)
"""What the speech models of the firmware are trained for, as they name it; marks, spaces and case do not count."""


@dataclass(frozen=True, slots=True)
class Phrases:
    """What a device is told in a language: `greeting` and `goodbye` are spoken, the rest is shown."""

    greeting: str
    goodbye: str
    status: str
    failed: str
    too_long: str


ENGLISH = Phrases(
    greeting="Hi, I am listening.",
    goodbye="Goodbye, talk to you later.",
    status="Error",
    failed="Something went wrong. Please try again.",
    too_long="That message is too long.",
)
CHINESE = Phrases(
    greeting="在呢，你说。",
    goodbye="那我先退下了，再见。",
    status="错误",
    failed="出了点问题，请再试一次。",
    too_long="这条消息太长了。",
)


def phrases(language: str | None) -> Phrases:
    """Those of the agent's language, a BCP 47 tag such as `zh-CN`; English where there are none."""
    return CHINESE if (language or "").lower().startswith(("zh", "yue", "cmn")) else ENGLISH


class XiaozhiSection(FleetSection):
    """`on_wake`: what a wake word brings about; `wake_audio`: whether the two seconds of sound that hold it are heard
    too. `wake_words` add to those known. `greeting` and `goodbye` None mean the agent's language's own.

    `silence_seconds`: how long nobody speaks before the agent says goodbye and hangs up. `exit_words` said alone end
    the talk once they are answered.

    `lead_frames`: packets of 60 ms that a device is given ahead of what it plays; `chip_lead_frames` by its chip.
    `pcm_down`: whether a client that sends plain PCM is sent PCM as well.

    `public_url`: where devices reach this server by HTTP ("" : at the host and port they connected to). Who may come
    in, firmware and nodes: see FleetSection."""

    on_wake: Literal["greet", "silent", "text"] = "greet"
    wake_audio: bool = False
    wake_words: tuple[str, ...] = ()
    wake_tail_ms: Milliseconds = 200
    greeting: str | None = None
    goodbye: str | None = None
    silence_seconds: Annotated[float, Field(gt=0, le=120)] = 60.0
    exit_words: tuple[str, ...] = ("goodbye", "bye bye", "bye", "再见", "拜拜", "退出", "退下吧")
    lead_frames: Annotated[int, Field(ge=1, le=10)] = 3
    chip_lead_frames: Mapping[str, Annotated[int, Field(ge=1, le=10)]] = {"esp32c3": 1}
    pcm_down: bool = False
    tool_seconds: Seconds = 15.0
    public_url: DeviceAddress = ""

    def lead_of(self, chip: str) -> int:
        """Packets of lead for a device with this chip; "" where it is not known."""
        return self.chip_lead_frames.get(chip.lower().replace("-", ""), self.lead_frames)
