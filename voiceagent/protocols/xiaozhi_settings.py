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
