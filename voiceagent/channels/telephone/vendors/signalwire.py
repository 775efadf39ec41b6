"""SignalWire: Twilio's streams and API at other addresses, with signatures of its own. At `/signalwire`."""

import hmac
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from voiceagent.channels.base import CallController
from voiceagent.channels.telephone.auth import FormFields, VendorRequest, same
from voiceagent.channels.telephone.control import ControlContext, CurrentCall, DialPage, Rest, page_for
from voiceagent.channels.telephone.media_stream.protocol import MediaStreamProtocol, StreamDialect
from voiceagent.channels.telephone.pages import Pages, dial_page
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import Vendor
from voiceagent.channels.telephone.vendors.twilio import TwilioControl, twilio_signature, twiml_answer
from voiceagent.section import WebAddress

DIALECT = StreamDialect("signalwire")


class SignalWireSection(VendorSection):
    """SignalWire."""

    project: str = ""
    """The project's id."""
    token: SecretStr | None = None
    """The project's API token."""
    signing_key: SecretStr | None = None
    """Checks the signatures of requests."""
    api_base: WebAddress | None = None
    """`https://SPACE.signalwire.com/api/laml`."""


def signalwire_signed(
    headers: Mapping[str, str], urls: Sequence[str], params: FormFields, body: bytes, signing_key: SecretStr | None
) -> bool | None:
    """Twilio's way for forms, or the hexadecimal digest of URL and body; the header has had both names."""
    if signing_key is None:
        return None
    key = signing_key.get_secret_value()
    signature = headers.get("x-signalwire-signature") or headers.get("x-twilio-signature")
    if not signature:
        return False
    return any(
        same(twilio_signature(key, url, params), signature)
        or same(hmac.digest(key.encode(), url.encode() + body, "sha1").hex(), signature)
        for url in urls
    )


def _verify(section: SignalWireSection, request: VendorRequest) -> bool | None:
    return signalwire_signed(request.headers, request.urls, request.form, request.body, section.signing_key)


class SignalWireControl(TwilioControl):
    """Twilio's interface, but a transfer must be fetched from a page."""

    def __init__(
        self, rest: Rest, account: str, login: tuple[str, SecretStr], call: CurrentCall, dial: DialPage
    ) -> None:
        super().__init__(rest, account, login, call)
        self._dial = dial

    def _transferred(self, destination: str) -> dict[str, str]:
        return {"Url": page_for(self._dial, destination), "Method": "POST"}


def _control(section: SignalWireSection, context: ControlContext) -> CallController | None:
    match section:
        case SignalWireSection(project=project, token=token, api_base=base) if project and token and base:
            rest = Rest("signalwire", base, context.seconds)
            return SignalWireControl(rest, project, (project, token), context.call, context.dial_page)
        case _:
            return None


VENDOR = Vendor(
    "signalwire",
    SignalWireSection,
    connect=lambda section, websocket, options: MediaStreamProtocol(DIALECT, options),
    verify=_verify,
    control=_control,
    pages=Pages(answer=lambda section, call: twiml_answer(call), dial=dial_page),
)
