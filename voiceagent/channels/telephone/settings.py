"""`[telephone]` without its vendors: how calls are held, and what every vendor's own table has."""

import base64
import re
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from voiceagent.channels.telephone.call import CallTool
from voiceagent.section import Seconds, Section, WebAddress

_DESTINATION = re.compile(r"\+?[0-9]{3,15}|sips?:[^\s<>\"']{1,250}")
_SECRET = re.compile(r"[A-Za-z0-9._~-]{8,200}")

Port = Annotated[int, Field(ge=1, le=65535)]
PlainName = Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,80}$")]


def base64_value(secret: SecretStr) -> SecretStr:
    """Raises ValueError when it is none."""
    try:
        base64.b64decode(secret.get_secret_value(), validate=True)
    except ValueError:
        raise ValueError("must be base64") from None
    return secret


class VendorSection(Section):
    """`secret` is one of our own, for the path (`/exotel/<secret>`), the query or an Authorization header, where the
    vendor has nothing better."""

    secret: SecretStr | None = None

    @field_validator("secret")
    @classmethod
    def _fits_a_path(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("must be 8 to 200 letters, digits or any of . _ ~ -")
        return value


class CallSection(Section):
    """`public_url` is where vendors reach this server. `greeting` is said when a call begins. `destinations` are whom
    callers may be given to, by name; `dial_after` names the one that is dialled when our stream ends. `parameters` go
    along with every call that our own pages answer. Keyed digits: `key_end` completes them, `key_seconds` of waiting,
    or `key_count` of them; `key_words` tells the model."""

    public_url: WebAddress | None = None
    greeting: str = ""
    lead_ms: Annotated[int, Field(ge=20, le=5000)] = 160
    tools: tuple[CallTool, ...] = ("end_call", "transfer_call")
    destinations: dict[str, str] = Field(default_factory=dict)
    any_destination: bool = False
    dial_after: str = ""
    parameters: dict[str, str] = Field(default_factory=dict)
    key_end: Annotated[str, Field(pattern="^[0-9*#A-D]?$")] = "#"
    key_seconds: Seconds = 2.5
    key_count: Annotated[int, Field(ge=0, le=64)] = 0
    key_words: str = "[keypad: {digits}]"
    control_seconds: Seconds = 10.0

    @field_validator("destinations")
    @classmethod
    def _can_be_called(cls, value: dict[str, str]) -> dict[str, str]:
        for name, destination in value.items():
            if not _DESTINATION.fullmatch(destination):
                raise ValueError(f"{name!r} is neither a telephone number such as +15551234 nor a sip: address")
        return value

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.dial_after and self.dial_after not in self.destinations:
            raise ValueError("dial_after must name one of the destinations")
        return self

    def section(self, vendor: str) -> VendorSection:
        """A vendor's own table."""
        section: VendorSection = getattr(self, vendor)
        return section

    @property
    def number_after(self) -> str:
        """The number that is dialled when our stream ends; "" for none."""
        return self.destinations.get(self.dial_after, "")

    def may_be_dialled(self, destination: str) -> bool:
        return self.any_destination or destination in self.destinations.values()
