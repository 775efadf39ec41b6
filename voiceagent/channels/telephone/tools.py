"""Tools for the model that act on the call itself: end it, transfer it, key in digits."""

import json
import re
from dataclasses import dataclass

from pydantic import JsonValue

from voiceagent.channels.base import HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.llm.base import ToolSpec
from voiceagent.session.conversation import FunctionCall

Operation = HangUp | Transfer | SendDigits

MAX_DIGITS = 64
_NUMBER = re.compile(r"\+?[0-9]{3,15}|sips?:[^\s<>\"']{1,250}")
_DIGITS = re.compile(rf"[0-9*#A-Dw]{{1,{MAX_DIGITS}}}")


class WrongCall(Exception):
    """The model called a tool with arguments that cannot be carried out. The message is for it."""


@dataclass(frozen=True, slots=True)
class CallAction:
    """A tool's call that is carried out once the reply that made it was heard."""

    call_id: str
    operation: Operation | WrongCall


def specs(options: CallOptions) -> tuple[ToolSpec, ...]:
    """The tools that this call offers: a transfer only where there is somebody to go to."""
    anybody = options.destinations or options.any_destination
    return tuple(_spec(name, options) for name in options.tools if anybody or name != "transfer_call")


def _spec(name: str, options: CallOptions) -> ToolSpec:
    match name:
        case "end_call":
            what = "Hang up. Say goodbye first. Call it when the caller wants to end the call or nothing is left to do."
            return ToolSpec(name, what, _schema({"reason": _text("Why, in a few words.")}, ()))
        case "transfer_call":
            who = _text("To whom: a telephone number with its country code, or a sip: address.")
            if not options.any_destination:
                who = {"type": "string", "enum": list(options.destinations), "description": "To whom."}
            what = "Give the caller to somebody else and leave the call. Tell the caller first."
            return ToolSpec(name, what, _schema({"destination": who, "reason": _text("Why.")}, ("destination",)))
        case _:
            what = "Send touch tones into the call, to find the way through a telephone menu."
            digits = _text("0-9, *, #, A-D; w waits half a second.")
            return ToolSpec(name, what, _schema({"digits": digits}, ("digits",)))


def _text(description: str) -> dict[str, JsonValue]:
    return {"type": "string", "description": description}


def _schema(properties: dict[str, JsonValue], required: tuple[str, ...]) -> dict[str, JsonValue]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def call_action(call: FunctionCall, options: CallOptions) -> CallAction:
    """What a call asks for. What is wrong with it is told when the others are carried out."""
    try:
        return CallAction(call.call_id, _operation(call, options))
    except WrongCall as wrong:
        return CallAction(call.call_id, wrong)


def _operation(call: FunctionCall, options: CallOptions) -> Operation:
    if call.name not in options.tools:
        raise WrongCall("there is no such tool")
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        raise WrongCall("the arguments are not JSON") from None
    if not isinstance(arguments, dict):
        raise WrongCall("the arguments are not a JSON object")
    match call.name:
        case "end_call":
            return HangUp()
        case "transfer_call":
            return Transfer(_destination(arguments.get("destination"), options))
        case _:
            digits = arguments.get("digits")
            if not isinstance(digits, str) or not _DIGITS.fullmatch(digits):
                raise WrongCall("digits are 0-9, *, #, A-D and w")
            return SendDigits(digits)


def _destination(named: object, options: CallOptions) -> str:
    """A number to call. Only those that are configured, unless any is allowed: a caller can talk a model into much."""
    if isinstance(named, str) and named in options.destinations:
        return options.destinations[named]
    if isinstance(named, str) and options.any_destination:
        number = named if named.startswith("sip") else re.sub(r"[\s().-]", "", named)
        if _NUMBER.fullmatch(number):
            return number
        raise WrongCall("the destination is neither a telephone number nor a sip: address")
    raise WrongCall("there is no such destination")
