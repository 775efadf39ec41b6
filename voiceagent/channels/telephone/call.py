"""A telephone call, whichever vendor brings it: what is known of it, and the options it is held with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from voiceagent.session.options import SessionOptions

CallTool = Literal["end_call", "transfer_call", "send_digits"]

NUMBER_DIGITS = 5
"""A caller's name with fewer is no number: "anonymous", "Restricted", an extension that many share."""
MAX_VARIABLES = 64
MAX_CHARS = 1000
"""Of one variable's value; the rest is cut off."""
_PLACE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `id` is the vendor's, by which its interface knows it; `caller` and `called` are telephone numbers or
    SIP addresses, "" where the vendor tells none; `parameters` is all custom data that came with it."""

    vendor: str
    id: str = ""
    account: str = ""
    caller: str = ""
    called: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def user(self) -> str:
        """Whose memory the call has: the caller's, "" where they withhold their number."""
        caller = self.variables().get("from", "")
        return caller if sum(char.isdigit() for char in caller) >= NUMBER_DIGITS else ""

    def variables(self) -> dict[str, str]:
        """One map of it all, for the `{{names}}` in the instructions. What the vendor says of the call cannot be
        overwritten by parameters."""
        known = {"call_id": self.id, "call_vendor": self.vendor, "from": self.caller, "to": self.called}
        return {**self.parameters, **{name: value for name, value in known.items() if value}}


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How calls are held.

    `session` are the options of a session that asks for nothing. The `greeting` is said when the call begins. `lead_ms`
    is how much audio the other side is given ahead. `destinations` are whom callers may be given to, by the names that
    the model knows; with `any_destination` it may name a number itself. `controlled` tells that the vendor's interface
    can be asked to hang up and transfer; `controls_digits` that it can send digits. When we end the stream, the call
    goes to the number `closes_to`, or ends where that is "".

    Digits that the caller keys in are complete at `key_end` (one of them, or "" for none), after `key_seconds` without
    another one, or when they are `key_count` (0: any number); `key_words` tells the model of them."""

    session: SessionOptions = field(default_factory=SessionOptions)
    greeting: str = ""
    lead_ms: int = 160
    tools: tuple[CallTool, ...] = ("end_call",)
    destinations: Mapping[str, str] = field(default_factory=dict)
    any_destination: bool = False
    controlled: bool = False
    controls_digits: bool = False
    closes_to: str = ""
    key_end: str = "#"
    key_seconds: float = 2.5
    key_count: int = 0
    key_words: str = "[keypad: {digits}]"


def parameters_of(value: object) -> dict[str, str]:
    """A vendor's custom data as names and texts: a JSON object, or a list of objects of `name` and `value`. What is
    neither text nor number is left out, and so is what is too much."""
    if isinstance(value, list):
        value = {entry.get("name"): entry.get("value") for entry in value if isinstance(entry, dict)}
    if not isinstance(value, dict):
        return {}
    found = {str(name)[:MAX_CHARS]: text_of(entry) for name, entry in value.items()}
    kept = [(name, entry) for name, entry in found.items() if entry is not None]
    return dict(kept[:MAX_VARIABLES])


def text_of(value: object) -> str | None:
    """One value as a single line of text; None for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        value = str(value)
    if not isinstance(value, str):
        return None
    return _CONTROL.sub(" ", value[:MAX_CHARS]).strip()


def filled_in(text: str, variables: Mapping[str, str]) -> str:
    """The text with every `{{name}}` replaced; one that is not known leaves nothing."""
    return _PLACE.sub(lambda place: variables.get(place[1], ""), text)
