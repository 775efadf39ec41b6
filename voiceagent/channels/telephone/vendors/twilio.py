"""Twilio: Media Streams at `/twilio`, signed requests, the REST API of 2010-04-01."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import parse_qsl

from pydantic import SecretStr
from starlette.responses import Response

from voiceagent.channels.base import CallController, ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.auth import FormFields, VendorRequest, same
from voiceagent.channels.telephone.control import ControlContext, CurrentCall, Operation, Rest, id_of
from voiceagent.channels.telephone.media_stream.protocol import MediaStreamProtocol, StreamDialect
from voiceagent.channels.telephone.pages import (
    XML_HEADER,
    IncomingCall,
    Pages,
    connect_verb,
    dial_page,
    dial_verb,
    xml_response,
)
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import Vendor
from voiceagent.section import WebAddress

DIALECT = StreamDialect("twilio")

Digest = Literal["sha1", "sha256"]


class TwilioSection(VendorSection):
    """Twilio."""

    account_sid: str = ""
    """The account, for its REST interface."""
    auth_token: SecretStr | None = None
    """Checks the signatures of requests and, without an API key, opens the REST interface."""
    signing_key: SecretStr | None = None
    """The shared key of signatures by HMAC_SHA256."""
    api_key: str = ""
    """Key of the REST interface."""
    api_secret: SecretStr | None = None
    """Its secret."""
    api_base: WebAddress = "https://api.twilio.com"
    """Address of the REST interface."""


# -- signatures -------------------------------------------------------------------------------------------------------


def twilio_signature(key: str, url: str, params: FormFields, digest: Digest = "sha1") -> str:
    """Of a URL and the parameters of a form, each once, in the order of their names and values."""
    text = url + "".join(name + value for name, value in sorted(set(params)))
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), digest)).decode()


def twilio_signed(
    headers: Mapping[str, str],
    urls: Sequence[str],
    params: FormFields,
    auth_token: SecretStr | None,
    signing_key: SecretStr | None,
) -> bool | None:
    """None where no key is configured. The settings header names another algorithm and so another key."""
    if auth_token is None and signing_key is None:
        return None
    settings = dict(parse_qsl(headers.get("x-twilio-webhooks-signature-settings", "").replace(",", "&")))
    algorithm = settings.get("algorithm", "HMAC_SHA1").strip().upper()
    algorithms: dict[str, tuple[Digest, SecretStr | None]] = {
        "HMAC_SHA1": ("sha1", auth_token),
        "HMAC_SHA256": ("sha256", signing_key),
    }
    digest, key = algorithms.get(algorithm, ("sha1", None))
    signature = headers.get("x-twilio-signature")
    if key is None or not signature:
        return False
    return any(same(twilio_signature(key.get_secret_value(), url, params, digest), signature) for url in urls)


def _verify(section: TwilioSection, request: VendorRequest) -> bool | None:
    return twilio_signed(request.headers, request.urls, request.form, section.auth_token, section.signing_key)


# -- call control -----------------------------------------------------------------------------------------------------


class TwilioControl:
    """The REST API."""

    def __init__(self, rest: Rest, account: str, login: tuple[str, SecretStr], call: CurrentCall) -> None:
        self._rest, self._account, self._login, self._call = rest, account, login, call

    async def carry_out(self, operation: Operation) -> None:
        match operation:
            case HangUp():
                await self._update({"Status": "completed"})
            case Transfer(destination):
                await self._update(self._transferred(destination))
            case SendDigits():
                raise ControlError("digits go as tones")

    def _transferred(self, destination: str) -> dict[str, str]:
        return {"Twiml": f"{XML_HEADER}<Response>{dial_verb(destination)}</Response>"}

    async def _update(self, form: dict[str, str]) -> None:
        path = f"/2010-04-01/Accounts/{self._account}/Calls/{id_of(self._call)}.json"
        await self._rest.request("POST", path, basic=self._login, form=form)


def _control(section: TwilioSection, context: ControlContext) -> CallController | None:
    rest = Rest("twilio", section.api_base, context.seconds)
    match section:
        case TwilioSection(account_sid=account, api_key=key, api_secret=secret) if account and key and secret:
            return TwilioControl(rest, account, (key, secret), context.call)
        case TwilioSection(account_sid=account, auth_token=token) if account and token:
            return TwilioControl(rest, account, (account, token), context.call)
        case _:
            return None


# -- pages ------------------------------------------------------------------------------------------------------------


def twiml_answer(call: IncomingCall) -> Response:
    """Connect the call to the stream; when that ends, dial."""
    return xml_response(connect_verb(call.stream_url, call.stream_parameters()), dial_verb(call.dial_after))


VENDOR = Vendor(
    "twilio",
    TwilioSection,
    connect=lambda section, websocket, options: MediaStreamProtocol(DIALECT, options),
    verify=_verify,
    control=_control,
    pages=Pages(answer=lambda section, call: twiml_answer(call), dial=dial_page),
)
