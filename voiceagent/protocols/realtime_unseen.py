"""Tools that the server runs, kept out of a client's sight.

Clients run what they see called: agents-js whatever `response.output_item.done` shows, Pipecat whatever has arguments,
and each would send a result for a call that is none of its business. So calls of the server's own tools, and their
results, are told by `voiceagent.*` events only, and for the client the items around them are neighbours. Of a call to a
server that the client has named only the result is no item of its own.
"""

from voiceagent.session import events
from voiceagent.session.items import FunctionOutput

MOST = 4000
"""Items remembered: more than a conversation keeps."""


class Unseen:
    def __init__(self) -> None:
        self._calls: dict[str, None] = {}
        self._before: dict[str, str | None] = {}
        """The item that a client knows before each of these."""

    def take(self, event: events.Event) -> bool:
        """Whether the client is not to see what this tells of."""
        match event:
            case events.ToolCalled(call=call, by_client=False):
                self._calls[call.call_id] = None
                if call.origin is not None:
                    return False
                self._hide(call.id, event.previous_item_id)
            case events.ApprovalAsked(request=request):
                self._calls[request.call.call_id] = None
                return False
            case events.ItemAdded(item=FunctionOutput(id=item_id, call_id=call_id)) if call_id in self._calls:
                self._hide(item_id, event.previous_item_id)
            case events.ItemDone(item=FunctionOutput(id=item_id)) if item_id in self._before:
                pass
            case _:
                return False
        return True

    def known(self, previous_item_id: str | None) -> str | None:
        """The item before another, as the client sees it."""
        if previous_item_id is None:
            return None
        return self._before.get(previous_item_id, previous_item_id)

    def _hide(self, item_id: str, previous_item_id: str | None) -> None:
        self._before[item_id] = self.known(previous_item_id)
        for kept in (self._before, self._calls):
            if len(kept) > MOST:
                del kept[next(iter(kept))]
