"""Call control by the consoles of FreeSWITCH (event socket) and Asterisk (manager): a line, an answer, and off."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pydantic import SecretStr

from voiceagent.channels.base import ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.call import Call
from voiceagent.channels.telephone.control import CurrentCall, Operation

MOST_LINES = 100
"""Lines of one answer."""
MOST_BODY = 64 * 1024
NOT_PLAIN = frozenset("\r\n\0")
DIALABLE = re.compile(r"[A-Za-z0-9_.+*#@:;=-]{1,260}")


def plain(value: str, what: str) -> str:
    """A value that cannot break out of its line. Raises ControlError."""
    if not value or NOT_PLAIN & set(value):
        raise ControlError(f"the call has no usable {what}")
    return value


def dialable(destination: str) -> str:
    """A destination that means nothing else in a dialplan, where `$`, `&` and commas do. Raises ControlError."""
    if not DIALABLE.fullmatch(destination):
        raise ControlError("the call has no usable destination")
    return destination


class Console:
    """An open connection whose messages are lines of `Name: value`, ended by an empty one."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name = name
        self._reader = reader
        self._writer = writer

    async def line(self) -> str:
        return (await self._reader.readuntil(b"\n")).decode("utf-8", "replace").strip()

    async def message(self) -> dict[str, str]:
        """With names in lower case. A `Content-Length` brings a `body`."""
        fields: dict[str, str] = {}
        for _ in range(MOST_LINES):
            line = await self.line()
            if line:
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()
            elif fields:
                break
        length = fields.get("content-length", "0")
        if length.isdecimal() and 0 < int(length) <= MOST_BODY:
            fields["body"] = (await self._reader.readexactly(int(length))).decode("utf-8", "replace").strip()
        return fields

    async def say(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        await self._writer.drain()


@asynccontextmanager
async def console(name: str, host: str, port: int, seconds: float) -> AsyncIterator[Console]:
    """All that is done with it is done within so many seconds. Raises ControlError."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                yield Console(name, reader, writer)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise ControlError(f"{name} did not answer within {seconds:g} s") from None
    except (OSError, EOFError, asyncio.LimitOverrunError):
        raise ControlError(f"{name} could not be reached") from None


class FreeSwitchControl:
    """FreeSWITCH's event socket. The call is named by its `uuid`."""

    def __init__(
        self, host: str, port: int, password: SecretStr, context: str, seconds: float, call: CurrentCall
    ) -> None:
        self._where = (host, port, seconds)
        self._password = password
        self._context = context
        self._call = call

    async def carry_out(self, operation: Operation) -> None:
        call = self._call()
        uuid = plain(call.id if call else "", "uuid")
        if any(char.isspace() for char in uuid):
            raise ControlError("the call has no usable uuid")
        async with console("freeswitch", *self._where) as esl:
            await esl.message()  # auth/request
            await esl.say(f"auth {self._password.get_secret_value()}")
            if not (await esl.message()).get("reply-text", "").startswith("+OK"):
                raise ControlError("freeswitch refused the password")
            await esl.say(f"api {self._command(uuid, operation)}")
            answer = await esl.message()
        if not answer.get("body", "").startswith("+OK"):
            raise ControlError("freeswitch refused it")

    def _command(self, uuid: str, operation: Operation) -> str:
        match operation:
            case HangUp():
                return f"uuid_kill {uuid}"
            case Transfer(destination) if destination.startswith("sip"):
                address = dialable(destination.partition(":")[2])
                return f"uuid_transfer {uuid} 'bridge:sofia/external/{address}' inline"
            case Transfer(destination):
                return f"uuid_transfer {uuid} {dialable(destination)} XML {self._context}"
            case SendDigits(digits):
                return f"uuid_send_dtmf {uuid} {digits}"


class AsteriskManagerControl:
    """Asterisk's manager interface. The caller's channel, by its name or its unique id, is a parameter of the call."""

    def __init__(
        self, host: str, port: int, login: tuple[str, SecretStr], context: str, seconds: float, call: CurrentCall
    ) -> None:
        self._where = (host, port, seconds)
        self._login = login
        self._context = context
        self._call = call

    async def carry_out(self, operation: Operation) -> None:
        action = self._action(f"Channel: {channel_of(self._call())}", operation)
        user, password = self._login
        async with console("asterisk", *self._where) as ami:
            await ami.line()  # its version
            await ami.say("Action: Login", f"Username: {user}", f"Secret: {password.get_secret_value()}", "Events: off")
            await self._answered(ami, "the password")
            await ami.say(*action)
            await self._answered(ami, "it")
            await ami.say("Action: Logoff")

    def _action(self, channel: str, operation: Operation) -> tuple[str, ...]:
        match operation:
            case HangUp():
                return ("Action: Hangup", channel, "Cause: 16")
            case Transfer(destination):
                exten = f"Exten: {dialable(destination)}"
                return ("Action: Redirect", channel, f"Context: {self._context}", exten, "Priority: 1")
            case SendDigits():
                raise ControlError("digits go as tones")

    @staticmethod
    async def _answered(ami: Console, what: str) -> None:
        answer = await ami.message()
        while "response" not in answer:  # an event
            answer = await ami.message()
        if answer["response"] != "Success":
            raise ControlError(f"asterisk refused {what}")


def channel_of(call: Call | None) -> str:
    """Raises ControlError."""
    return plain(call.parameters.get("channel", "") if call else "", "channel")
