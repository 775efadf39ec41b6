"""Genesys Cloud's Audio Connector: `/genesys`."""

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.protocols.genesys import GenesysPeer
from voiceagent.protocols.telephone_peer import PeerCall
from voiceagent.server.calls_settings import TelephoneSection
from voiceagent.server.doors.telephone_auth import addresses
from voiceagent.server.doors.telephone_guests import call_options, guest_of
from voiceagent.server.doors.telephone_proofs import genesys_signed
from voiceagent.server.host import Door, Host, Visitor


def door(host: Host) -> Door:
    settings: TelephoneSection = host.settings.telephone
    section = settings.genesys

    def knock(websocket: WebSocket) -> Visitor:
        headers = websocket.headers
        host.admission.check_origin(headers.get("origin"))
        urls = addresses(websocket, settings.public_url)
        signed = genesys_signed(headers, urls, section.api_key, section.client_secret)
        guest = guest_of(host, "genesys", section, websocket, signed)
        peer = GenesysPeer(headers.get("audiohook-organization-id", ""))
        protocol = PeerCall(peer, call_options(host, controlled=True))
        return Visitor(protocol, host.new_id("sess"), guest.tenant)

    async def stream(websocket: WebSocket) -> None:
        await host.welcome(websocket, lambda: knock(websocket))

    return Door(routes=[WebSocketRoute(path, stream) for path in ("/genesys", "/genesys/{key}")])
