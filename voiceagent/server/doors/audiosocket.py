"""Asterisk's AudioSocket: a TCP port of its own. As a call tells nothing but its id there, `/audiosocket/<id>`
announces one, with all that is to be known of it in the query."""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from voiceagent.errors import ConfigError
from voiceagent.protocols.audiosocket import ERROR, HANG_UP, AudioSocketPeer, message
from voiceagent.protocols.telephone_call import parameters_of
from voiceagent.protocols.telephone_peer import PeerCall
from voiceagent.server.admission import Denied
from voiceagent.server.audiosocket import AudioSocketTransport
from voiceagent.server.calls_settings import TelephoneSection
from voiceagent.server.calls_systems import asterisk_control
from voiceagent.server.doors.telephone_guests import call_options, guest_of
from voiceagent.server.host import Door, Host, Visitor, answering
from voiceagent.server.transport import Gone

log = logging.getLogger(__name__)

ANNOUNCED_SECONDS = 60.0
"""How long an announced call may take to come."""
MOST_ANNOUNCED = 1000
GOODBYE_SECONDS = 1.0
TENANT = "audiosocket"


class Announced:
    """The data of calls that are about to come, by their ids; each is good for one call."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, tuple[float, Mapping[str, str]]] = OrderedDict()

    def add(self, call: str, parameters: Mapping[str, str]) -> None:
        self._calls[call] = (asyncio.get_running_loop().time(), parameters)
        self._calls.move_to_end(call)
        while len(self._calls) > MOST_ANNOUNCED:
            self._calls.popitem(last=False)

    def take(self, call: str) -> Mapping[str, str] | None:
        at, parameters = self._calls.pop(call, (0.0, None))
        return parameters if asyncio.get_running_loop().time() - at < ANNOUNCED_SECONDS else None


class AudioSocketDoor:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._settings: TelephoneSection = host.settings.telephone
        self._section = self._settings.audiosocket
        self._announced = Announced()

    async def announce(self, request: Request) -> Response:
        guest_of(self._host, TENANT, self._section, request, None)
        try:
            call = str(uuid.UUID(request.path_params["call"]))
        except ValueError:
            raise Denied(404, "no_uuid", "a call's id is a UUID") from None
        told = {name: value for name, value in request.query_params.items() if name != "key"}
        self._announced.add(call, parameters_of(told))
        return Response(status_code=204)

    async def run(self) -> None:
        """Take calls. Raises ConfigError when the port is taken."""
        host, port, calls = self._section.host, self._section.port, asyncio.TaskGroup()

        def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls.create_task(self._call(reader, writer), name="audiosocket call")

        try:
            server = await asyncio.start_server(come, host, port, start_serving=False)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"[telephone.audiosocket] cannot listen on port {port}: {reason}") from None
        async with calls:
            try:
                await server.start_serving()
                log.info("AudioSocket on port %d", port)
                await asyncio.Event().wait()
            finally:
                server.close()

    def _lookup(self, call: str) -> Mapping[str, str] | None:
        known = self._announced.take(call)
        return {} if known is None and not self._section.announced_only else known

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One call; whatever becomes of it, the others go on."""
        transport = AudioSocketTransport(reader, writer)
        control = asterisk_control(self._settings.asterisk, self._settings.control_seconds, lambda: protocol.call)
        protocol = PeerCall(AudioSocketPeer(self._lookup), call_options(self._host, controlled=control is not None))
        visitor = Visitor(protocol, self._host.new_id("sess"), TENANT, control=control)
        try:
            with self._host.place(TENANT):
                await self._host.hold(transport, visitor)
        except Denied as denied:
            log.warning("AudioSocket: %s", denied.code)
            await _turn_away(transport)
        except Exception:
            log.exception("session %s: internal error", visitor.session_id)
        finally:
            writer.close()


async def _turn_away(transport: AudioSocketTransport) -> None:
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            await transport.send(message(ERROR, b"\x01") + message(HANG_UP))
            await transport.close(1013, "")
    except (Gone, TimeoutError):
        pass


def door(host: Host) -> Door:
    audiosocket = AudioSocketDoor(host)
    if audiosocket._section.port is None:
        return Door()
    page = Route("/audiosocket/{call}", answering(audiosocket.announce), methods=["GET", "POST"])
    return Door(routes=[page], run=audiosocket.run)
