"""`/llm/status`: how the endpoints of the language model are, as JSON. `voiceagent llm status` shows it."""

from typing import Protocol, runtime_checkable

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from voiceagent.admin.auth import AdminAuth
from voiceagent.channels.channel import Denied, answering
from voiceagent.llm.base import LlmEngine
from voiceagent.llm.layers import layers
from voiceagent.server.admission import Admission
from voiceagent.settings import Settings

PATH = "/llm/status"


@runtime_checkable
class ReportsStatus(Protocol):
    """A language model over many endpoints."""

    def report(self) -> dict[str, JsonValue]:
        """Called on the loop."""
        ...


def llm_pages(engine: LlmEngine, settings: Settings, admission: Admission) -> list[Route]:
    """The page, where the engine has something to report. Once there are keys it takes the admin's or any API key."""
    reporting = next((layer for layer in layers(engine) if isinstance(layer, ReportsStatus)), None)
    if reporting is None:
        return []
    key = settings.admin.key
    gate = AdminAuth(key) if key is not None else None

    async def status(request: Request) -> Response:
        _admit(request, gate, admission, keys=bool(settings.limits.api_keys))
        return JSONResponse(reporting.report(), headers={"cache-control": "no-store"})

    return [Route(PATH, answering(status))]


def _admit(request: Request, gate: AdminAuth | None, admission: Admission, keys: bool) -> None:
    """Raises Denied 401."""
    if gate is not None:
        try:
            gate.check(request)
            return
        except Denied:
            if not keys:
                raise
    admission.check_key(request.headers.get("authorization"))
