"""Telephones: the media streams of Twilio, Telnyx, Plivo, Exotel, SignalWire and jambonz, and the pages their calls
begin with. For each vendor `/<vendor>` is the stream, `/<vendor>/voice` answers an incoming call with it, and
`/<vendor>/transfer` dials somebody; all but Exotel, which has no such pages."""

from collections.abc import Sequence
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.channels.channel import Channel, ChannelHost, Client, Denied, answering
from voiceagent.channels.telephone import settings as calls_settings
from voiceagent.channels.telephone.admission import IdentifiedCaller, body_of, call_options, identify_caller
from voiceagent.channels.telephone.auth import Params, addresses, knows, plivo_signed, signalwire_signed, twilio_signed
from voiceagent.channels.telephone.media_stream.control import control_for
from voiceagent.channels.telephone.media_stream.dialects import DIALECTS, StreamDialect
from voiceagent.channels.telephone.media_stream.protocol import MediaStreamProtocol
from voiceagent.channels.telephone.settings import TelephoneSection, VendorSection
from voiceagent.channels.telephone.xml import dial_xml, jambonz_verbs, stream_xml

SUBPROTOCOLS = ("audio.jambonz.org", "audio.drachtio.org")
"""Those that a vendor insists on."""


class VendorRoutes:
    """One vendor's pages and streams."""

    def __init__(
        self, host: ChannelHost, settings: TelephoneSection, dialect: StreamDialect, section: VendorSection
    ) -> None:
        self._host = host
        self._dialect = dialect
        self._section = section
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        vendor = self._dialect.vendor
        streams = [WebSocketRoute(path, self._stream) for path in (f"/{vendor}", f"/{vendor}/{{key}}")]
        pages = [
            Route(f"/{vendor}/voice", answering(self._voice), methods=["GET", "POST"]),
            Route(f"/{vendor}/transfer", answering(self._transfer), methods=["GET", "POST"]),
        ]
        return [*streams, *(pages if vendor != "exotel" else [])]

    # -- streams ----------------------------------------------------------------------------------------------------

    async def _stream(self, websocket: WebSocket) -> None:
        await self._host.accept(websocket, lambda: self._authenticate(websocket))

    def _authenticate(self, websocket: WebSocket) -> Client:
        host, settings = self._host, self._settings
        host.check_origin(websocket.headers.get("origin"))
        guest = self._identify(websocket, "GET", (), b"")
        control = control_for(self._section, settings.control_seconds, lambda: protocol.call, self._dial_page)
        digits = control is not None and self._dialect.vendor == "telnyx"
        options = call_options(host, settings, controlled=control is not None, controls_digits=digits)
        protocol = MediaStreamProtocol(self._dialect, options)
        offered: list[str] = websocket.scope["subprotocols"]
        subprotocol = next((name for name in SUBPROTOCOLS if name in offered), None)
        return Client(protocol, host.new_id("sess"), guest.tenant, subprotocol=subprotocol, control=control)

    # -- pages ------------------------------------------------------------------------------------------------------

    async def _voice(self, request: Request) -> Response:
        """What to do with an incoming call: our stream, and whom to dial when it ends."""
        guest, form = await self._open(request)
        vendor, settings = self._dialect.vendor, self._settings
        told = {name.lower(): value for name, value in form if name in ("From", "To", "from", "to")}
        parameters = {**told, **settings.parameters}
        after = settings.destinations.get(settings.dial_after, "")
        url = self._stream_url(request, guest.key)
        if vendor == "jambonz":
            return _json(jambonz_verbs(url, parameters, after))
        return _xml(stream_xml(vendor, url, parameters, after))

    async def _transfer(self, request: Request) -> Response:
        """Dial whom we told the vendor to; nobody else."""
        await self._open(request)
        destination = request.query_params.get("destination", "")
        if destination not in self._settings.destinations.values() and not self._settings.any_destination:
            raise Denied(404, "unknown_destination", "there is no such destination")
        if self._dialect.vendor == "jambonz":
            return _json(jambonz_verbs(None, {}, destination))
        return _xml(dial_xml(destination, self._dialect.vendor))

    async def _open(self, request: Request) -> tuple[IdentifiedCaller, Params]:
        """Read and check a request. Raises Denied."""
        body = await body_of(request)
        is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        try:
            form = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=200) if is_form else []
        except ValueError:
            raise Denied(400, "invalid_form", "the form cannot be read") from None
        return self._identify(request, request.method, form, body), form

    def _stream_url(self, request: Request, key: str) -> str:
        """Vendors demand wss; only a public URL of http:// makes it ws."""
        public = self._settings.public_url or f"https://{request.headers.get('host', '')}"
        scheme, _, rest = public.partition("://")
        return (
            f"{'wss' if scheme == 'https' else 'ws'}://{rest}/{self._dialect.vendor}{f'/{quote(key)}' if key else ''}"
        )

    def _dial_page(self, destination: str) -> str | None:
        public, secret = self._settings.public_url, self._section.secret
        if public is None:
            return None
        query = {"destination": destination, **({"key": secret.get_secret_value()} if secret else {})}
        return f"{public}/{self._dialect.vendor}/transfer?{urlencode(query)}"

    # -- who it is --------------------------------------------------------------------------------------------------

    def _identify(self, connection: HTTPConnection, method: str, params: Params, body: bytes) -> IdentifiedCaller:
        """Raises Denied."""
        signed = self._signed(connection, method, params, body)
        return identify_caller(self._host, self._dialect.vendor, self._section, connection, signed)

    def _signed(self, connection: HTTPConnection, method: str, params: Params, body: bytes) -> bool | None:
        """Whether the vendor signed it; None where no key for that is configured."""
        headers = connection.headers
        urls = addresses(connection, self._settings.public_url)
        match self._section:
            case calls_settings.TwilioSection(auth_token=token, signing_key=key):
                return twilio_signed(headers, urls, params, token, key)
            case calls_settings.SignalWireSection(signing_key=key):
                return signalwire_signed(headers, urls, params, body, key)
            case calls_settings.PlivoSection(auth_token=token):
                return plivo_signed(headers, method, urls, params, token)
            case calls_settings.TelnyxSection(stream_token=token):
                return knows(token, [headers.get("x-telnyx-streaming-auth-token", "")])
            case _:
                return None


def channel(host: ChannelHost, settings: TelephoneSection) -> Channel:
    sections: dict[str, VendorSection] = {
        "twilio": settings.twilio,
        "signalwire": settings.signalwire,
        "telnyx": settings.telnyx,
        "plivo": settings.plivo,
        "exotel": settings.exotel,
        "jambonz": settings.jambonz,
    }
    doors: Sequence[VendorRoutes] = [
        VendorRoutes(host, settings, DIALECTS[vendor], section) for vendor, section in sections.items()
    ]
    return Channel(routes=[route for one in doors for route in one.routes()])


def _xml(text: str) -> Response:
    return Response(text, media_type="text/xml")


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
