"""A telephone vendor: all that one file of `vendors/` tells of it, and the routes that are made of that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.channels.base import CallController, WireProtocol
from voiceagent.channels.channel import Channel, ChannelHost, Client, Denied, answering
from voiceagent.channels.telephone.auth import (
    FormFields,
    VendorRequest,
    addresses,
    presented_keys,
    secret_presented,
)
from voiceagent.channels.telephone.call import Call, CallOptions
from voiceagent.channels.telephone.control import ControlContext
from voiceagent.channels.telephone.pages import IncomingCall, Pages, body_of, fields_of, form_of
from voiceagent.channels.telephone.settings import CallSection, VendorSection

S = TypeVar("S", bound=VendorSection)

FORBIDDEN = Denied(403, "not_the_vendor", "the signature or the token is missing or wrong")


class CallProtocol(WireProtocol, Protocol):
    """The wire protocol of one call."""

    @property
    def call(self) -> Call | None:
        """Known once the call has begun."""
        ...


@dataclass(frozen=True, slots=True)
class Vendor(Generic[S]):
    """A vendor. Only `name` and `section` are needed for one that answers no WebSocket.

    - `name` is both the path, `/<name>`, and the table of the settings, `[telephone.<name>]`, which is a `section`.
    - `connect` makes the protocol of a stream that the vendor has opened.
    - `verify` tells whether the vendor has proved that a request is its own; None where no key for that is configured.
    - `control` opens the vendor's interface for one call; None where no account is configured. With `controls_digits`
      that interface can send digits.
    - `subprotocols` are WebSocket subprotocols that the vendor insists on.
    - `pages` answer its webhooks.
    - `extra` is what the vendor needs besides: more routes, a port of its own.
    """

    name: str
    section: type[S]
    connect: Callable[[S, WebSocket, CallOptions], CallProtocol] | None = None
    verify: Callable[[S, VendorRequest], bool | None] = lambda section, request: None
    control: Callable[[S, ControlContext], CallController | None] = lambda section, context: None
    controls_digits: bool = False
    subprotocols: tuple[str, ...] = ()
    pages: Pages[S] | None = None
    extra: "Callable[[VendorRoutes[S]], Channel] | None" = None


AnyVendor = Vendor[Any]
"""A vendor of whatever section: a list of vendors holds many kinds."""


@dataclass(frozen=True, slots=True)
class IdentifiedCaller:
    """Whose call it is, and the secret that its stream's path must hold, if any."""

    tenant: str
    key: str = ""


class VendorRoutes(Generic[S]):
    """Routes of one vendor: `/<vendor>` and `/<vendor>/<key>` are its stream, `/<vendor>/voice` answers an incoming
    call with it, `/<vendor>/transfer` dials somebody."""

    def __init__(self, host: ChannelHost, vendor: Vendor[S], settings: CallSection, section: S) -> None:
        self.host = host
        self.vendor = vendor
        self.settings = settings
        self.section = section

    def channel(self) -> Channel:
        vendor, name = self.vendor, self.vendor.name
        routes: list[BaseRoute] = []
        if vendor.pages is not None:
            routes.append(Route(f"/{name}/voice", answering(self._voice), methods=["GET", "POST"]))
            if vendor.pages.dial is not None:
                routes.append(Route(f"/{name}/transfer", answering(self._transfer), methods=["GET", "POST"]))
        extra = Channel() if vendor.extra is None else vendor.extra(self)
        routes += extra.routes
        if vendor.connect is not None:
            routes += [WebSocketRoute(path, self._stream) for path in (f"/{name}", f"/{name}/{{key}}")]
        return Channel(routes, extra.run)

    # -- who calls --------------------------------------------------------------------------------------------------

    def identify(
        self, connection: HTTPConnection, method: str = "GET", form: FormFields = (), body: bytes = b""
    ) -> IdentifiedCaller:
        """By the vendor's own signature or token, or by our secret for it; where neither is configured, by an API key
        like everybody else. Raises Denied."""
        urls = addresses(connection, self.settings.public_url)
        proof = self.vendor.verify(self.section, VendorRequest(connection.headers, urls, method, form, body))
        secret, keys = self.section.secret, presented_keys(connection)
        checks = [secret_presented(secret, keys), proof]
        if True in checks:
            return IdentifiedCaller(self.vendor.name, secret.get_secret_value() if secret else "")
        if False in checks:
            raise FORBIDDEN
        if not self.host.keys_required:
            return IdentifiedCaller(self.vendor.name)
        for key in keys:
            try:
                return IdentifiedCaller(self.host.check_key(f"Bearer {key}"), key)
            except Denied:
                continue
        raise FORBIDDEN

    # -- streams ----------------------------------------------------------------------------------------------------

    async def _stream(self, websocket: WebSocket) -> None:
        await self.host.accept(websocket, lambda: self._client(websocket))

    def _client(self, websocket: WebSocket) -> Client:
        self.host.check_origin(websocket.headers.get("origin"))
        tenant = self.identify(websocket).tenant
        connect = self.vendor.connect
        assert connect is not None
        offered: list[str] = websocket.scope["subprotocols"]
        subprotocol = next((name for name in self.vendor.subprotocols if name in offered), None)
        return self.client(lambda options: connect(self.section, websocket, options), tenant, subprotocol)

    def client(
        self,
        connect: Callable[[CallOptions], CallProtocol],
        tenant: str,
        subprotocol: str | None = None,
        *,
        control: Callable[[ControlContext], CallController | None] | None = None,
    ) -> Client:
        """The client of one call, which `connect` makes the protocol of. `control` stands in for the vendor's own."""

        def current() -> Call | None:
            return protocol.call

        context = ControlContext(self.settings.control_seconds, current, self._dial_page)
        controller = self.vendor.control(self.section, context) if control is None else control(context)
        protocol = connect(self._options(controller is not None))
        return Client(protocol, self.host.new_id("sess"), tenant, subprotocol=subprotocol, control=controller)

    def _options(self, controlled: bool) -> CallOptions:
        """How calls are held, by the settings."""
        settings = self.settings
        return CallOptions(
            session=self.host.defaults(),
            greeting=settings.greeting,
            lead_ms=settings.lead_ms,
            tools=settings.tools,
            destinations=settings.destinations,
            any_destination=settings.any_destination,
            controlled=controlled,
            controls_digits=controlled and self.vendor.controls_digits,
            closes_to=settings.number_after,
            key_end=settings.key_end,
            key_seconds=settings.key_seconds,
            key_count=settings.key_count,
            key_words=settings.key_words,
        )

    # -- pages ------------------------------------------------------------------------------------------------------

    async def _voice(self, request: Request) -> Response:
        """What to do with an incoming call: our stream, and whom to dial when it ends."""
        caller, fields = await self._open(request)
        pages, settings = self.vendor.pages, self.settings
        assert pages is not None
        url = self._stream_url(request, caller.key)
        return pages.answer(self.section, IncomingCall(url, fields, settings.parameters, settings.number_after))

    async def _transfer(self, request: Request) -> Response:
        """Dial whom we told the vendor to; nobody else."""
        await self._open(request)
        destination = request.query_params.get("destination", "")
        if not self.settings.may_be_dialled(destination):
            raise Denied(404, "unknown_destination", "there is no such destination")
        pages = self.vendor.pages
        assert pages is not None
        assert pages.dial is not None
        return pages.dial(destination)

    async def _open(self, request: Request) -> tuple[IdentifiedCaller, Mapping[str, str]]:
        """Read and check a request: who sends it, and what it says. Raises Denied."""
        body = await body_of(request)
        form = form_of(request, body)
        caller = self.identify(request, request.method, form, body)
        return caller, fields_of(request, body, form)

    def _stream_url(self, request: Request, key: str) -> str:
        """Vendors demand wss; only a public URL of http:// makes it ws."""
        here = f"https://{request.headers.get('host', '')}{request.scope.get('root_path', '')}"
        public = self.settings.public_url or here
        scheme, _, rest = public.partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/{self.vendor.name}{f'/{quote(key)}' if key else ''}"

    def _dial_page(self, destination: str) -> str | None:
        public, secret = self.settings.public_url, self.section.secret
        if public is None:
            return None
        query = {"destination": destination, **({"key": secret.get_secret_value()} if secret else {})}
        return f"{public}/{self.vendor.name}/transfer?{urlencode(query)}"
