"""What one talk costs in memory and tasks: `python -m benchmarks.session_cost [--json]`.

Clients connect to a server with scripted engines and the real voice detector, are silent for a moment, and then all
talk. What the server process holds more than before, divided by their number, is the cost of one. Before that, one
client has talked and left, so that what is loaded once does not count.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.crowd import crowd
from benchmarks.recording import Recording, record
from benchmarks.server_process import ServerProcess, Usage, scripted_server
from voiceagent.models.store import ModelStore

MEGABYTES = 2.0
TASKS = 12.0
FIRST_TURN_SECONDS = 30.0
READING_SECONDS = 0.25
LEAVE_READINGS = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one talk. `idle`: connected and silent. `talking`: the most that was seen while all talk."""

    sessions: int
    idle_megabytes: float
    talking_megabytes: float
    idle_tasks: float
    talking_tasks: float

    @property
    def good(self) -> bool:
        return self.talking_megabytes <= MEGABYTES and self.talking_tasks <= TASKS


async def measure(server: ServerProcess, recording: Recording, sessions: int, seconds: float) -> Cost:
    before = await warmed_up(server, recording)
    async with crowd(server.host, server.port, recording, sessions) as clients:
        await asyncio.sleep(1.0)
        idle = await server.usage()
        talking = asyncio.create_task(clients.talk())
        try:
            readings = [await usage_later(server) for _ in range(max(1, int(seconds / READING_SECONDS)))]
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
        if any(talker.lost for talker in clients.talkers):
            raise RuntimeError("the server has hung up on a client")
    return Cost(
        sessions,
        idle_megabytes=(idle.resident_bytes - before.resident_bytes) / sessions / 1e6,
        talking_megabytes=(max(usage.resident_bytes for usage in readings) - before.resident_bytes) / sessions / 1e6,
        idle_tasks=(idle.tasks - before.tasks) / sessions,
        talking_tasks=(max(usage.tasks for usage in readings) - before.tasks) / sessions,
    )


async def usage_later(server: ServerProcess) -> Usage:
    await asyncio.sleep(READING_SECONDS)
    return await server.usage()


async def warmed_up(server: ServerProcess, recording: Recording) -> Usage:
    """Let one client have a turn answered and leave; what the server holds then."""
    empty = await server.usage()
    async with crowd(server.host, server.port, recording, 1) as clients:
        talking = asyncio.create_task(clients.talk())
        try:
            async with asyncio.timeout(FIRST_TURN_SECONDS):
                await clients.talkers[0].was_answered.wait()
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
    for _ in range(LEAVE_READINGS):
        usage = await usage_later(server)
        if usage.tasks <= empty.tasks:
            return usage
    raise RuntimeError("the server has not let go of a client that has left")


async def session_cost(sessions: int, seconds: float, turn_seconds: float) -> Cost:
    recording = await record(ModelStore(), turn_seconds)
    async with scripted_server() as server:
        return await measure(server, recording, sessions, seconds)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long all talk")
    parser.add_argument("--turn-seconds", type=float, default=3.5, help="the least speech of a turn")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(argv)
    cost = asyncio.run(session_cost(arguments.sessions, arguments.seconds, arguments.turn_seconds))
    if arguments.json:
        print(json.dumps(asdict(cost)))
    else:
        print(f"{cost.sessions} sessions; each adds to the process:")
        print(f"  idle     {cost.idle_megabytes:5.2f} MB  {cost.idle_tasks:5.2f} tasks")
        print(f"  talking  {cost.talking_megabytes:5.2f} MB  {cost.talking_tasks:5.2f} tasks")
        print(f"  allowed  {MEGABYTES:5.2f} MB  {TASKS:5.2f} tasks")
    return 0 if cost.good else 1


if __name__ == "__main__":
    sys.exit(main())
