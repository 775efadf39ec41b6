"""Call control by the vendors' HTTP interfaces: hanging up, transferring, sending digits."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
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
        # Loading the certificates takes 20 ms, too long for the loop.
        trusted = await asyncio.to_thread(ssl.create_default_context) if url.scheme == "https" else False
        return httpx.AsyncClient(verify=trusted, timeout=self._seconds, trust_env=url.host not in LOOPBACK)


def id_of(current: CurrentCall) -> str:
    """The call's id, fit for a path. Raises ControlError before there is one."""
    call = current()
    if call is None or not call.id:
        raise ControlError("the call has no id")
    return quote(call.id, safe="")


def page_for(dial: DialPage, destination: str) -> str:
    """Raises ControlError where there is no such page."""
    page = dial(destination)
    if page is None:
        raise ControlError("[telephone] public_url is not configured")
    return page
