"""Exotel: the Voicebot applet's stream at `/exotel`, the Legs API. It has no pages: flows are made in its console."""

from pydantic import SecretStr

from voiceagent.channels.base import CallController, ControlError, HangUp
from voiceagent.channels.telephone.control import ControlContext, CurrentCall, Operation, Rest, id_of
from voiceagent.channels.telephone.media_stream.protocol import LINEAR, MediaStreamProtocol, StreamDialect
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import Vendor
from voiceagent.section import WebAddress

DIALECT = StreamDialect("exotel", id="stream_sid", default=LINEAR, message_ms=100, grain_ms=20)
"""Audio is linear; messages shorter than 100 ms, or of half a frame, sound choppy."""


class ExotelSection(VendorSection):
    """Exotel."""

    account_sid: str = ""
    """The account."""
    api_key: str = ""
    """Key of the REST interface."""
    api_token: SecretStr | None = None
    """Its token."""
    api_base: WebAddress = "https://cpaas-api.in.exotel.com"
    """Address of the REST interface."""


class ExotelControl:
    """The Legs API, which can hang up. Calls are transferred by the flow that goes on when the stream ends."""

    def __init__(self, rest: Rest, account: str, login: tuple[str, SecretStr], call: CurrentCall) -> None:
        self._rest, self._account, self._login, self._call = rest, account, login, call

    async def carry_out(self, operation: Operation) -> None:
        if not isinstance(operation, HangUp):
            raise ControlError("exotel cannot do that on request")
        path = f"/v2/accounts/{self._account}/legs/{id_of(self._call)}/actions/hangup"
        await self._rest.request("POST", path, basic=self._login, json={})


def _control(section: ExotelSection, context: ControlContext) -> CallController | None:
    match section:
        case ExotelSection(account_sid=account, api_key=key, api_token=token) if account and key and token:
            rest = Rest("exotel", section.api_base, context.seconds)
            return ExotelControl(rest, account, (key, token), context.call)
        case _:
            return None


VENDOR = Vendor(
    "exotel",
    ExotelSection,
    connect=lambda section, websocket, options: MediaStreamProtocol(DIALECT, options),
    control=_control,
)
