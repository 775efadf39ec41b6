"""Operators' side of the xiaozhi devices, by HTTP: `/xiaozhi/speakers`. An API key sees and changes its own devices,
`[xiaozhi] admin_key` all of them."""

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from voiceagent.channels.channel import Denied, answering
from voiceagent.channels.xiaozhi.fleet.access import FAILED, Fleet, RequestPace
from voiceagent.channels.xiaozhi.fleet.boot import decoded
from voiceagent.channels.xiaozhi.fleet.ota import read
from voiceagent.channels.xiaozhi.fleet.store import StoreError
from voiceagent.channels.xiaozhi.settings import device_id, tenant_name

PATH = "/xiaozhi/speakers"
SHOWN = ("device_id", "standing", "tenant", "serial", "board", "version", "seen")


class SpeakerRoutes:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._guesses = RequestPace(burst=10, rate=0.2)
        """Wrong codes: of a million, few are in use."""

    def routes(self) -> list[BaseRoute]:
        return [
            Route(PATH, answering(self._list), methods=["GET"]),
            Route(f"{PATH}/{{what}}", answering(self._change), methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        operator = await self._operator(request)
        try:
            speakers = await self._fleet.store.speakers(operator, limit=1000)
        except StoreError:
            raise FAILED from None
        told = [{key: value for key, value in asdict(speaker).items() if key in SHOWN} for speaker in speakers]
        return JSONResponse({"speakers": told})

    async def _change(self, request: Request) -> Response:
        operator = await self._operator(request)
        told = {str(key): str(value) for key, value in decoded(await read(request)).items()}
        tenant = self._tenant(told.get("tenant", ""), operator)
        try:
            match request.path_params["what"]:
                case "activate":
                    device = await self._activate(told.get("code", ""), tenant, operator or "")
                case "allow":
                    device = _device(told)
                    if not await self._fleet.store.allow(device, tenant, by=operator):
                        raise Denied(409, "not_yours", "the device belongs to somebody else")
                case "forget":
                    device = _device(told)
                    if not await self._fleet.store.forget(device, by=operator):
                        raise Denied(404, "unknown_device", "there is no such device")
                case _:
                    raise Denied(404, "not_found", "there is activate, allow and forget")
            await self._fleet.refresh()
        except StoreError:
            raise FAILED from None
        return JSONResponse({"device_id": device})

    async def _activate(self, code: str, tenant: str, operator: str) -> str:
        device = await self._fleet.store.activate(code, tenant)
        if device is None:
            if self._guesses.delay(operator) > 0:
                raise Denied(429, "too_many_codes", "too many wrong codes", retry_after=5)
            raise Denied(404, "unknown_code", "no device says this code, or not any more")
        return device

    async def _operator(self, request: Request) -> str | None:
        operator = self._fleet.operator(request.headers.get("authorization"))
        await self._fleet.ready()
        return operator

    def _tenant(self, wanted: str, operator: str | None) -> str:
        """Whom the device is to be for: an API key's are always its own."""
        try:
            return operator or tenant_name(wanted) or self._fleet.tenant
        except ValueError as error:
            raise Denied(400, "invalid_tenant", f"tenant {error}") from None


def _device(told: dict[str, str]) -> str:
    try:
        return device_id(told.get("device", ""))
    except ValueError as error:
        raise Denied(400, "invalid_device_id", f"device {error}") from None
