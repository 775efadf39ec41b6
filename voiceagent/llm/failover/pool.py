"""Pool of all endpoints: which of them a request goes to, and what became of all requests."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from voiceagent.llm.base import Caller
from voiceagent.llm.failover.choice import choose
from voiceagent.llm.failover.endpoint import Endpoint
from voiceagent.llm.failover.health import Hedges
from voiceagent.llm.failover.options import FailoverOptions
from voiceagent.llm.failover.reports import FailoverStatus, Observer, Outcome

logger = logging.getLogger(__name__)

MOST_SESSIONS = 10_000
"""Sessions whose endpoint is remembered; the one that was silent for longest is forgotten."""


class Pool:
    def __init__(self, options: FailoverOptions, endpoints: Sequence[Endpoint]) -> None:
        self.options = options
        self.endpoints: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in endpoints}
        self.hedges = Hedges(options.failover.hedge)
        self.observers: list[Observer] = []
        self.tasks: set[asyncio.Task[object]] = set()
        """Every task of a request, so that none outlives the engine."""
        self.requests = self.hedged = self.resumed = self.failed = 0
        self._sessions: OrderedDict[str, str] = OrderedDict()

    def pick(self, caller: Caller, names: Collection[str], *, least: Collection[str] = ()) -> Endpoint | None:
        """The best endpoint among `names`; one of `least` only when there is no other."""
        now = asyncio.get_running_loop().time()
        for among in ([name for name in names if name not in least], [name for name in names if name in least]):
            candidates = [self.endpoints[name].candidate(now) for name in among]
            balance = self.options.balance
            sticky = self._sessions.get(caller.session) if balance.sticky and caller.session else None
            best = choose(candidates, balance.weights, sticky=sticky, margin=balance.sticky_margin)
            if best is not None:
                return self.endpoints[best.name]
        return None

    def answered(self, caller: Caller, endpoint: Endpoint) -> None:
        """The session's next request shall go there again."""
        if caller.session and self.options.balance.sticky:
            self._sessions[caller.session] = endpoint.name
            self._sessions.move_to_end(caller.session)
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)

    def report(self, outcome: Outcome) -> None:
        for observer in self.observers:
            try:
                observer(outcome)
            except Exception as error:  # an observer's fault must not cost an answer
                logger.error("an observer of the language models failed (%s)", type(error).__name__)

    def own(self, task: asyncio.Task[object]) -> None:
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def status(self) -> FailoverStatus:
        now = asyncio.get_running_loop().time()
        return FailoverStatus(
            tuple(endpoint.status(now) for endpoint in self.endpoints.values()),
            requests=self.requests,
            hedged=self.hedged,
            resumed=self.resumed,
            failed=self.failed,
            sessions=len(self._sessions),
        )
