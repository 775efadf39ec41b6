"""Vonage: `/vonage` is the stream, `/vonage/voice` the page that answers a call with it."""

import json
from collections.abc import Mapping
from urllib.parse import quote

from pydantic import JsonValue
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent import extras
from voiceagent.protocols.telephone_call import parameters_of
from voiceagent.protocols.telephone_peer import PeerCall
from voiceagent.protocols.vonage import VonagePeer
from voiceagent.server.admission import Denied
from voiceagent.server.calls_settings import TelephoneSection, VonageSection
from voiceagent.server.calls_systems import vonage_connect, vonage_control
from voiceagent.server.doors.telephone_guests import Guest, body_of, call_options, guest_of
from voiceagent.server.doors.telephone_proofs import vonage_signed
from voiceagent.server.host import Door, Host, Visitor, answering

TOLD = {"from": "from", "to": "to", "uuid": "call_uuid", "conversation_uuid": "conversation_uuid"}
"""What Vonage tells of a call, and the stream's header that passes it on."""


def door(host: Host) -> Door:
    settings: TelephoneSection = host.settings.telephone
    section = settings.vonage
    if section.signature_secret or section.private_key:
        extras.need("jwt", "[telephone.vonage] signature_secret or private_key")

    def identify(connection: HTTPConnection, body: bytes = b"") -> Guest:
        authorization = connection.headers.get("authorization", "")
        return guest_of(
            host, "vonage", section, connection, vonage_signed(authorization, body, section.signature_secret)
        )

    def knock(websocket: WebSocket) -> Visitor:
        host.admission.check_origin(websocket.headers.get("origin"))
        guest = identify(websocket)
        control = vonage_control(section, settings.control_seconds, lambda: protocol.call)
        protocol = PeerCall(VonagePeer(), call_options(host, controlled=control is not None))
        return Visitor(protocol, host.new_id("sess"), guest.tenant, control=control)

    async def stream(websocket: WebSocket) -> None:
        await host.welcome(websocket, lambda: knock(websocket))

    async def voice(request: Request) -> Response:
        """What to do with an incoming call: our stream, and whom to dial when it ends."""
        body = await body_of(request)
        guest = identify(request, body)
        told = _told(request, body)
        public = settings.public_url or f"https://{request.headers.get('host', '')}"
        url = f"{public.replace('http', 'ws', 1)}/vonage{f'/{quote(guest.key)}' if guest.key else ''}"
        headers = {TOLD[name]: value for name, value in told.items() if name in TOLD} | settings.parameters
        after = settings.destinations.get(settings.dial_after, "")
        actions: list[JsonValue] = [_stream(section, url, headers)]
        return JSONResponse([*actions, *([vonage_connect(after, told.get("to", ""))] if after else [])])

    return Door(
        routes=[
            Route("/vonage/voice", answering(voice), methods=["GET", "POST"]),
            *(WebSocketRoute(path, stream) for path in ("/vonage", "/vonage/{key}")),
        ]
    )


def _told(request: Request, body: bytes) -> dict[str, str]:
    """What the webhook says of the call: in its query, or in its body. Raises Denied."""
    told: object = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            raise Denied(400, "invalid_json", "the body cannot be read") from None
    return parameters_of(told)


def _stream(section: VonageSection, url: str, headers: Mapping[str, str]) -> dict[str, JsonValue]:
    endpoint: dict[str, JsonValue] = {
        "type": "websocket",
        "uri": url,
        "content-type": f"audio/l16;rate={section.rate}",
        "headers": {**headers},
    }
    if section.signature_secret is not None:
        endpoint["authorization"] = {"type": "vonage"}
    return {"action": "connect", "endpoint": [endpoint]}
