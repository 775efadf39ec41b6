"""Call control, as far as vendors have it in common: HTTP interfaces, consoles over TCP, and checks of what is put into
a path or a command."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

import httpx
from pydantic import JsonValue, SecretStr

from voiceagent.channels.base import ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.call import Call

Operation = HangUp | Transfer | SendDigits

CurrentCall = Callable[[], Call | None]
"""The call that is controlled: known only once its stream has begun."""

DialPage = Callable[[str], str | None]
"""The address of a page of ours that tells the vendor to dial a number; None without a public URL."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class ControlContext:
    """What a vendor's `control` is handed for one call. An operation may take so many `seconds`."""

    seconds: float
    call: CurrentCall
    dial_page: DialPage = lambda destination: None


class Rest:
    """Requests to one vendor, each on a connection of its own: a call is controlled once, if at all."""

    def __init__(self, vendor: str, base: str, seconds: float) -> None:
        self._vendor = vendor
        self._base = base
        self._seconds = seconds

    async def request(
        self,
        method: str,
        path: str,
        *,
        basic: tuple[str, SecretStr] | None = None,
        bearer: SecretStr | None = None,
        form: Mapping[str, str] | None = None,
        json: JsonValue = None,
    ) -> None:
        """Raises ControlError, which holds neither address nor body: both may name callers and accounts."""
        try:
            async with asyncio.timeout(self._seconds), await self._client() as client:
                response = await client.request(
                    method,
                    self._base + path,
                    auth=(basic[0], basic[1].get_secret_value()) if basic else None,
                    headers={"Authorization": f"Bearer {bearer.get_secret_value()}"} if bearer else None,
                    data=form,
                    json=json,
                )
        except TimeoutError:
            raise ControlError(f"{self._vendor} did not answer within {self._seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            raise ControlError(f"{self._vendor} could not be reached") from None
        if not response.is_success:
            raise ControlError(f"{self._vendor} refused it ({response.status_code})")

    async def _client(self) -> httpx.AsyncClient:
        url = httpx.URL(self._base)
        # Loading the certificates takes 20 ms, too long for the event loop.
        trusted = await asyncio.to_thread(ssl.create_default_context) if url.scheme == "https" else False
        return httpx.AsyncClient(verify=trusted, timeout=self._seconds, trust_env=url.host not in LOOPBACK)


def id_of(current: CurrentCall) -> str:
    """The call's id, quoted for a path. Raises ControlError before there is one."""
    call = current()
    if call is None or not call.id:
        raise ControlError("the call has no id")
    return quote(call.id, safe="")


def page_for(dial_page: DialPage, destination: str) -> str:
    """The page that dials the destination. Raises ControlError where there is no such page."""
    page = dial_page(destination)
    if page is None:
        raise ControlError("[telephone] public_url is not configured")
    return page


# -- consoles ---------------------------------------------------------------------------------------------------------

MAX_LINES = 100
"""Lines of one answer."""
MAX_BODY = 64 * 1024
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
    """An open connection to a telephone system's console (FreeSWITCH's event socket, Asterisk's manager). Messages are
    lines of `Name: value`, ended by an empty one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def line(self) -> str:
        return (await self._reader.readuntil(b"\n")).decode("utf-8", "replace").strip()

    async def message(self) -> dict[str, str]:
        """The next message, its names in lower case. A `Content-Length` brings a `body`."""
        fields: dict[str, str] = {}
        for _ in range(MAX_LINES):
            line = await self.line()
            if line:
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()
            elif fields:
                break
        length = fields.get("content-length", "0")
        if length.isdecimal() and 0 < int(length) <= MAX_BODY:
            fields["body"] = (await self._reader.readexactly(int(length))).decode("utf-8", "replace").strip()
        return fields

    async def send(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        await self._writer.drain()


@asynccontextmanager
async def console(name: str, host: str, port: int, seconds: float) -> AsyncIterator[Console]:
    """A connection to the console of the system called `name`; all that is done with it is done within so many seconds.
    Raises ControlError."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                yield Console(reader, writer)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise ControlError(f"{name} did not answer within {seconds:g} s") from None
    except (OSError, EOFError, asyncio.LimitOverrunError):
        raise ControlError(f"{name} could not be reached") from None
