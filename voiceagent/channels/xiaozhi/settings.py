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
    """A firmware image for devices."""

    board: Annotated[str, Field(min_length=1)]
    """Pattern for the board's name, such as `bread-*`."""
    version: str
    """Numbers and dots only; the image must say the same."""
    file: Path
    """The image for the app partition."""
    percent: Annotated[float, Field(ge=0, le=100)] = 100.0
    """Share of the board's devices that get it."""
    force: bool = False
    """Give it to devices of any other version, newer ones too."""
    url: DeviceAddress = ""
    """Where devices load it; empty: from this server."""

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
    """A server that devices are sent to."""

    url: Annotated[DeviceAddress, Field(min_length=1)]
    """Its own `public_url`."""
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Its share of the devices."""
    sessions: Annotated[int, Field(ge=1)] = 500
    """How many sessions it takes."""
    health: Annotated[str, AfterValidator(lambda value: web_address(value) if value else "")] = ""
    """Where it is asked for its health; empty: at its `/healthz`."""

    @property
    def health_url(self) -> str:
        return self.health or f"{self.url}/healthz"


class FleetSection(Section):
    """Which devices may connect, what firmware they get and which server they are sent to."""

    access: Literal["", "open", "list", "code"] = ""
    """`open` lets every device in; `list` those in `allow`, those that an operator allowed and those that prove a
    serial number; `code` those that were activated by the code they say. Empty is `open` without API keys, else `code`.
    """
    path: str = ""
    """SQLite file of the devices; empty keeps them in memory only."""
    secret: LongSecret | None = None
    """Makes the devices' tokens; without it one is made and kept in the file at `path`."""
    old_secrets: tuple[LongSecret, ...] = ()
    """Secrets whose tokens still count."""
    tenant: TenantName = ""
    """Who pays for devices that nobody else was named for."""
    allow: frozenset[DeviceId] = frozenset()
    """MAC addresses of devices that may connect."""
    serial_keys: Mapping[str, SecretStr] = {}
    """The keys burnt into devices, in hex, by serial number."""
    admin_key: LongSecret | None = None
    """Opens `/xiaozhi/speakers`."""
    framing: Literal[1, 2, 3] = 1
    """The binary framing that devices are told to use; 2 lets a server cancel echo."""
    timezone: str = ""
    """The time zone of the devices' clocks, such as `Asia/Shanghai`; empty: the server's."""
    activation_message: Annotated[str, Field(max_length=200)] = ""
    """Shown with the activation code, which takes the place of `{code}`."""
    firmware: tuple[FirmwareSection, ...] = ()
    """The firmware images on offer."""
    nodes: tuple[NodeSection, ...] = ()
    """The servers among which devices are spread; empty: this one."""

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
    """Devices with xiaozhi-esp32 firmware: how they talk. Who may connect, firmware and nodes: see FleetSection."""

    on_wake: Literal["greet", "silent", "text"] = "greet"
    """What a wake word brings about: a greeting, nothing, or its words as the user's turn."""
    wake_audio: bool = False
    """Whether the two seconds of sound that hold the wake word are heard too."""
    wake_words: tuple[str, ...] = ()
    """Wake words beside those known."""
    wake_tail_ms: Milliseconds = 200
    """Sound after the wake word that still belongs to it."""
    greeting: str | None = None
    """Said after a wake word; the agent's language's own without one, nothing when empty."""
    goodbye: str | None = None
    """Said before the agent hangs up; likewise."""
    silence_seconds: Annotated[float, Field(gt=0, le=120)] = 60.0
    """How long nobody speaks before the agent says goodbye and hangs up."""
    exit_words: tuple[str, ...] = ("goodbye", "bye bye", "bye", "再见", "拜拜", "退出", "退下吧")
    """Said alone, these end the session once they are answered."""
    lead_frames: Annotated[int, Field(ge=1, le=10)] = 3
    """Packets of 60 ms that a device is given ahead of what it plays."""
    chip_lead_frames: Mapping[str, Annotated[int, Field(ge=1, le=10)]] = {"esp32c3": 1}
    """The same by the device's chip."""
    pcm_down: bool = False
    """Whether a client that sends plain PCM is sent PCM as well."""
    tool_seconds: Seconds = 15.0
    """How long a device may take for a call of its tools."""
    public_url: DeviceAddress = ""
    """Where devices reach this server by HTTP; empty: at the host and port they connected to."""

    def lead_of(self, chip: str) -> int:
        """Packets of lead for a device with this chip; "" where it is not known."""
        return self.chip_lead_frames.get(chip.lower().replace("-", ""), self.lead_frames)
