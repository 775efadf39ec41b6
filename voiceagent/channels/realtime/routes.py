"""Routes for OpenAI Realtime clients: `/v1/realtime`, and the short-lived keys for browsers."""

import time

from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.channels.channel import Channel, ChannelHost, Client, Denied, presented_key
from voiceagent.channels.realtime.protocol import RealtimeProtocol
from voiceagent.channels.realtime.secrets import PREFIX, ClientSecrets, Secret, SecretsPage

EXPIRED = Denied(401, "invalid_api_key", "the client secret is wrong or has expired")


def channel(host: ChannelHost) -> Channel:
    secrets = ClientSecrets()
    page = SecretsPage(host, secrets)

    def secret_of(websocket: WebSocket) -> Secret | None:
        """The client secret that was presented, None for any other key. Raises Denied: where everybody may come in, one
        whose secret has expired would get a session without what the secret says."""
        key = presented_key(websocket.headers.get("authorization"), websocket.scope["subprotocols"])
        secret = secrets.find(key)
        if secret is None and key.startswith(PREFIX) and not host.keys_required:
            raise EXPIRED
        return secret

    def authenticate(websocket: WebSocket) -> Client:
        headers, query = websocket.headers, websocket.query_params
        offered: list[str] = websocket.scope["subprotocols"]
        host.check_origin(headers.get("origin"))
        secret = secret_of(websocket)
        tenant = secret.tenant if secret else host.check_key(headers.get("authorization"), offered)
        session_id = host.new_id("sess")
        protocol = RealtimeProtocol(
            session_id=session_id,
            model=query.get("model") or "voiceagent",
            defaults=host.defaults(),
            expires_at=int(time.time()) + int(host.session_seconds),
            new_id=host.new_id,
            kind="transcription" if query.get("intent") == "transcription" else "realtime",
            given=secret.session if secret else None,
        )
        return Client(
            protocol,
            session_id,
            tenant,
            user=query.get("user"),
            subprotocol="realtime" if "realtime" in offered else None,  # never the key that stands beside it
        )

    async def realtime(websocket: WebSocket) -> None:
        await host.accept(websocket, lambda: authenticate(websocket))

    # LiveKit, given a bare host, asks at the second.
    talks = [WebSocketRoute(path, realtime) for path in ("/v1/realtime", "/realtime")]
    return Channel(routes=[Route("/v1/realtime/client_secrets", page.answer, methods=["POST", "OPTIONS"]), *talks])
