"""Experiments (A/B splits): who is in which arm, and what was observed there."""

import asyncio
import hashlib
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from voiceagent.database import Layout
from voiceagent.errors import ConfigError, EngineError
from voiceagent.gateway.cache.database import Database
from voiceagent.gateway.experiments.report import ExperimentReport, Tally, report
from voiceagent.gateway.routes.options import Groups, Name, Names, endpoints
from voiceagent.gateway.routes.rules import Route
from voiceagent.llm.base import Caller, Effort
from voiceagent.llm.failover.reports import Outcome
from voiceagent.section import Section

logger = logging.getLogger(__name__)

REMEMBERED = 20_000
"""Sessions, and turns, of which it is known which arm they were in; beyond, the oldest are forgotten."""
MOST_UNWRITTEN = 50_000
"""Observations that wait for a file that cannot be written; what more comes is lost."""
WRITE_SECONDS = 1.0
MOST_KEPT = 200_000
"""Observations of each kind that are kept of an arm; beyond, the oldest go."""
MOST_RANKED = 20_000
"""First-token times that a report looks at, the newest."""

LAYOUT = Layout(
    key="[llm] experiments_path",
    application=0x564F4158,  # "VOAX"
    version=1,
    schema="""
CREATE TABLE seen (
    number INTEGER PRIMARY KEY AUTOINCREMENT, experiment TEXT NOT NULL, arm TEXT NOT NULL, kind TEXT NOT NULL,
    session BLOB NOT NULL, ttft REAL, bad INTEGER NOT NULL, cost REAL NOT NULL
) STRICT;
CREATE INDEX seen_of_arm ON seen (experiment, arm, kind, number)
""",
)
_ADD = "INSERT INTO seen (experiment, arm, kind, session, ttft, bad, cost) VALUES (?, ?, ?, ?, ?, ?, ?)"
_TRIM = """
DELETE FROM seen WHERE experiment = ?1 AND arm = ?2 AND kind = ?3 AND number <= (
    SELECT number FROM seen WHERE experiment = ?1 AND arm = ?2 AND kind = ?3 ORDER BY number DESC LIMIT 1 OFFSET ?4
)
"""
_COUNT = """
SELECT count(*), coalesce(sum(bad), 0), coalesce(sum(cost), 0), count(DISTINCT session) FROM seen
WHERE experiment = ? AND arm = ? AND kind = ?
"""
_TTFT = """
SELECT ttft FROM seen WHERE experiment = ? AND arm = ? AND kind = 'request' AND ttft IS NOT NULL
ORDER BY number DESC LIMIT ?
"""


class ArmOptions(Section):
    """One arm of an experiment."""

    name: Name
    """Its name."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of the users among all arms'."""
    to: Names = ()
    """Endpoints and groups; none for those of the route that was split."""
    effort: Effort | None = None
    """Holds where the request asks for none itself."""


class ExperimentOptions(Section):
    """A split of requests by user. A user stays in an arm as long as the arms and their weights stay; one who is not
    known stays in it for a session."""

    name: Name
    """Its name."""
    routes: Names = ()
    """The routes whose requests take part; none for all."""
    arms: Annotated[tuple[ArmOptions, ...], Field(min_length=2)]
    """What is compared, each with the first."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [arm.name for arm in self.arms]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two arms are called {min(twice)}")
        return self


Kind = Literal["request", "reply"]
Key = TypeVar("Key", Caller, str)


@dataclass(frozen=True, slots=True)
class _Seen:
    experiment: str
    arm: str
    kind: Kind
    session: bytes
    ttft: float | None = None
    bad: bool = False
    cost: float = 0.0

    @property
    def row(self) -> tuple[str, str, str, bytes, float | None, bool, float]:
        return self.experiment, self.arm, self.kind, self.session, self.ttft, self.bad, self.cost


class Experiments:
    """All experiments. A request is in one at most, the first whose routes have it. What is seen is written every
    second on a thread of its own; processes may share the file."""

    def __init__(
        self, experiments: Sequence[ExperimentOptions], groups: Groups, known: Sequence[str], path: str = ""
    ) -> None:
        """`known` are the names of all endpoints. Without a path nothing outlives the process. Raises ConfigError for
        an arm that leads nowhere."""
        names = [experiment.name for experiment in experiments]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"[[llm.experiments]] two experiments are called {min(twice)}")
        for experiment in experiments:
            for arm in experiment.arms:
                endpoints(arm.to, groups, known, f"[[llm.experiments]] {experiment.name}")
        self._experiments = {experiment.name: experiment for experiment in experiments}
        self._groups, self._known = groups, known
        self._turns: OrderedDict[Caller, Route] = OrderedDict()
        self._sessions: OrderedDict[str, Route] = OrderedDict()
        self._unwritten: list[_Seen] = []
        self._database = Database(path, LAYOUT, "experiments")
        self._closing = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._well = True

    async def open(self) -> None:
        """Raises ConfigError for a file that cannot be used."""
        await self._database.open()
        self._closing.clear()
        self._writer = asyncio.create_task(self._keep_writing(), name="experiments")

    async def close(self) -> None:
        """Writes what is left. May be called twice."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._closing.set()
            await writer
        await self._database.close()

    # -- who takes part ---------------------------------------------------------------------------------------------

    def divert(self, route: Route, caller: Caller) -> Route:
        """The route of the caller's arm; the same route where no experiment has it, or nobody is known to stick to."""
        experiment = self._of(route)
        if experiment is None or not (who := identity(caller)):
            return route
        arm = arm_of(experiment, who)
        where = f"[[llm.experiments]] {experiment.name}"
        to = endpoints(arm.to, self._groups, self._known, where) if arm.to else route.endpoints
        return Route(route.name, to, arm.effort or route.effort, experiment.name, arm.name)

    def entered(self, route: Route, caller: Caller) -> None:
        """A request goes this way: what becomes of its turn counts for the arm, if it is in one."""
        _note(self._turns, caller, route)
        if who := caller.session or caller.user:
            _note(self._sessions, who, route)

    def _of(self, route: Route) -> ExperimentOptions | None:
        found = self._experiments.values()
        return next((one for one in found if not one.routes or route.name in one.routes), None)

    # -- what is seen -----------------------------------------------------------------------------------------------

    def observe_outcome(self, outcome: Outcome) -> None:
        """One attempt at an endpoint, as failover reports it."""
        route = self._turns.get(outcome.caller)
        if route is None or not route.arm or outcome.check:
            return
        ttft = None if outcome.hedged or outcome.resumed else outcome.ttft
        bad = outcome.code not in ("ok", "cancelled")
        session = _short(outcome.caller.session)
        self._add(_Seen(route.experiment, route.arm, "request", session, ttft, bad, outcome.cost))

    def observe_reply(self, session: str, user: str, interrupted: bool) -> None:
        """A reply is over: the user heard it to its end, or not. It counts for the arm of the session's last request;
        the user stands in for a session that is not known."""
        who = session or user
        route = self._sessions.get(who)
        if route is not None and route.arm:
            self._add(_Seen(route.experiment, route.arm, "reply", _short(who), bad=interrupted))

    def _add(self, seen: _Seen) -> None:
        if len(self._unwritten) < MOST_UNWRITTEN:
            self._unwritten.append(seen)

    # -- what it shows ----------------------------------------------------------------------------------------------

    async def report(self) -> list[ExperimentReport]:
        """All that was seen so far, by all processes that share the file. Raises EngineError when the file fails."""
        await self._write()

        def tallies(database: sqlite3.Connection) -> list[ExperimentReport]:
            return [
                report(one.name, [(arm.name, _tally(database, one.name, arm.name)) for arm in one.arms])
                for one in self._experiments.values()
            ]

        return await self._database.run(tallies)

    async def _keep_writing(self) -> None:
        """Until closed, and then once more."""
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._closing.wait()
            if not self._closing.is_set():
                await self._try_to_write()
        await self._try_to_write()

    async def _try_to_write(self) -> None:
        try:
            await self._write()
            self._well = True
        except EngineError as error:
            if self._well:
                logger.warning("what experiments show cannot be written: %s", error)
            self._well = False

    async def _write(self) -> None:
        batch, self._unwritten = self._unwritten, []
        if not batch:
            return

        def write(database: sqlite3.Connection) -> None:
            database.executemany(_ADD, [seen.row for seen in batch])
            for kind in {(seen.experiment, seen.arm, seen.kind) for seen in batch}:
                database.execute(_TRIM, (*kind, MOST_KEPT))

        try:
            await self._database.run(write)
        except EngineError:
            self._unwritten = (batch + self._unwritten)[:MOST_UNWRITTEN]
            raise


def identity(caller: Caller) -> str:
    """Who stays in an arm: the user, else the session, '' where neither is known."""
    if caller.user:
        return f"user {caller.tenant}/{caller.user}"
    return f"session {caller.session}" if caller.session else ""


def arm_of(experiment: ExperimentOptions, who: str) -> ArmOptions:
    """The arm of this user, the same in every process: a hash of the experiment's name and the user, laid on the arms'
    weights. The name is in it so that experiments split independently of each other."""
    digest = hashlib.blake2b(f"{experiment.name}\0{who}".encode("utf-8", "replace"), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64 * sum(arm.weight for arm in experiment.arms)
    for arm in experiment.arms:
        place -= arm.weight
        if place < 0:
            return arm
    return experiment.arms[-1]


def _note(notes: "OrderedDict[Key, Route]", key: Key, route: Route) -> None:
    notes[key] = route
    notes.move_to_end(key)
    if len(notes) > REMEMBERED:
        notes.popitem(last=False)


def _short(session: str) -> bytes:
    """Enough to count sessions by; nobody can tell from the file who it was."""
    return hashlib.blake2b(session.encode("utf-8", "replace"), digest_size=8).digest()


def _tally(database: sqlite3.Connection, experiment: str, arm: str) -> Tally:
    requests, errors, cost, _ = database.execute(_COUNT, (experiment, arm, "request")).fetchone()
    turns, interrupted, _, sessions = database.execute(_COUNT, (experiment, arm, "reply")).fetchone()
    ttft = [value for (value,) in database.execute(_TTFT, (experiment, arm, MOST_RANKED))]
    return Tally(ttft, requests, errors, cost, turns, interrupted, sessions)
