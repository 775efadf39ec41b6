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
    """What every telephone vendor's table may have."""

    secret: SecretStr | None = None
    """A secret of your own for the path (`/exotel/SECRET`), the query or an Authorization header, where the vendor has
    nothing better."""

    @field_validator("secret")
    @classmethod
    def _fits_a_path(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("must be 8 to 200 letters, digits or any of . _ ~ -")
        return value


class CallSection(Section):
    """Telephone calls, from whatever vendor."""

    public_url: WebAddress | None = None
    """Where vendors reach this server; without it, at the address they asked."""
    greeting: str = ""
    """Said when a call begins; empty: nothing."""
    lead_ms: Annotated[int, Field(ge=20, le=5000)] = 160
    """Audio sent ahead of what is played."""
    tools: tuple[CallTool, ...] = ("end_call", "transfer_call")
    """What the agent may do with the call: `end_call`, `transfer_call`."""
    destinations: dict[str, str] = Field(default_factory=dict)
    """Whom callers may be transferred to: telephone numbers or `sip:` addresses by name."""
    any_destination: bool = False
    """Whether the model may name other numbers as well."""
    dial_after: str = ""
    """The destination that is dialled when our stream ends, by its name."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Go along with every call that our own answer pages take."""
    key_end: Annotated[str, Field(pattern="^[0-9*#A-D]?$")] = "#"
    """The key that completes keyed digits; empty: none."""
    key_seconds: Seconds = 2.5
    """How long after the last key the digits are complete."""
    key_count: Annotated[int, Field(ge=0, le=64)] = 0
    """How many digits complete them; 0: any number."""
    key_words: str = "[keypad: {digits}]"
    """How the model is told of them; `{digits}` stands for the digits."""
    control_seconds: Seconds = 10.0
    """How long a vendor's interface may take."""

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
