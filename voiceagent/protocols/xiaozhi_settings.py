"""Settings of the xiaozhi-esp32 devices: the table `[xiaozhi]`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from voiceagent.protocols.xiaozhi_fleet import DeviceAddress, FleetSection
from voiceagent.section import Milliseconds, Seconds

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
