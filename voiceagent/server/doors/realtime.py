"""OpenAI Realtime clients: `/v1/realtime`."""

import time

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.protocols.openai_realtime import RealtimeProtocol
from voiceagent.server.host import Door, Host, Visitor


def door(host: Host) -> Door:
    def knock(websocket: WebSocket) -> Visitor:
        headers, query = websocket.headers, websocket.query_params
        offered: list[str] = websocket.scope["subprotocols"]
        host.admission.check_origin(headers.get("origin"))
        tenant = host.admission.identify(headers.get("authorization"), offered)
        session_id = host.new_id("sess")
        protocol = RealtimeProtocol(
            session_id=session_id,
            model=query.get("model") or "voiceagent",
            defaults=host.defaults(),
            expires_at=int(time.time()) + int(host.settings.limits.session_seconds),
            new_id=host.new_id,
        )
        return Visitor(
            protocol,
            session_id,
            tenant,
            user=query.get("user"),
            subprotocol="realtime" if "realtime" in offered else None,  # never the key that stands beside it
        )

    async def realtime(websocket: WebSocket) -> None:
        await host.welcome(websocket, lambda: knock(websocket))

    # LiveKit, given a bare host, asks at the second.
    return Door(routes=[WebSocketRoute(path, realtime) for path in ("/v1/realtime", "/realtime")])
