"""FreeSWITCH's mod_audio_stream: `/freeswitch`."""

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.protocols.freeswitch import FreeSwitchPeer
from voiceagent.protocols.telephone_call import parameters_of
from voiceagent.protocols.telephone_peer import PeerCall
from voiceagent.server.calls_settings import TelephoneSection
from voiceagent.server.calls_systems import freeswitch_control
from voiceagent.server.doors.telephone_guests import call_options, guest_of
from voiceagent.server.host import Door, Host, Visitor


def door(host: Host) -> Door:
    settings: TelephoneSection = host.settings.telephone
    section = settings.freeswitch

    def knock(websocket: WebSocket) -> Visitor:
        host.admission.check_origin(websocket.headers.get("origin"))
        guest = guest_of(host, "freeswitch", section, websocket, None)
        query = parameters_of({name: value for name, value in websocket.query_params.items() if name != "key"})
        control = freeswitch_control(section, settings.control_seconds, lambda: protocol.call)
        controlled = control is not None
        options = call_options(host, controlled=controlled, controls_digits=controlled)
        protocol = PeerCall(FreeSwitchPeer(query, section.rate), options)
        return Visitor(protocol, host.new_id("sess"), guest.tenant, control=control)

    async def stream(websocket: WebSocket) -> None:
        await host.welcome(websocket, lambda: knock(websocket))

    return Door(routes=[WebSocketRoute(path, stream) for path in ("/freeswitch", "/freeswitch/{key}")])
