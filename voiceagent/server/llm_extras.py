"""What a language model may offer beside answers, as the server uses it: a page with its status, and a wish to know how
responses ended. An engine within guard rails or tracing offers it as well as one alone."""

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
from voiceagent.session.commands import Command
from voiceagent.session.conversation import AnyItem
from voiceagent.session.events import Event, ResponseDone
from voiceagent.settings import Settings

PATH = "/llm/status"
"""How the endpoints of the language model are, as JSON. `voiceagent llm status` shows it."""


@runtime_checkable
class ReportsStatus(Protocol):
    """A language model over many endpoints."""

    def report(self) -> dict[str, JsonValue]:
        """Called on the loop."""
        ...


@runtime_checkable
class LearnsOutcomes(Protocol):
    """A language model that learns whether a response was heard to its end."""

    def observe_reply(self, session: str, user: str, interrupted: bool) -> None: ...


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


class ResponseOutcomeObserver:
    """An observer of one session. A response that never got a word out counts for nothing."""

    def __init__(self, llm: LearnsOutcomes, session: str, user: str) -> None:
        self._llm, self._session, self._user = llm, session, user

    @classmethod
    def of(cls, engine: LlmEngine, session: str, user: str) -> "ResponseOutcomeObserver | None":
        """None where the engine does not want to know."""
        learning = next((layer for layer in layers(engine) if isinstance(layer, LearnsOutcomes)), None)
        return None if learning is None else cls(learning, session, user)

    def on_event(self, event: Event) -> None:
        if isinstance(event, ResponseDone) and event.item is not None:
            self._llm.observe_reply(self._session, self._user, event.status == "cancelled")

    def on_command(self, command: Command) -> None: ...

    def on_item(self, item: AnyItem) -> None: ...

    def on_end(self, reason: str) -> None: ...


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
