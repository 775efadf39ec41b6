# mypy: ignore-errors
"""What the clients share: what is wanted of them, what they tell, a microphone that never stops. Runs in their own
environment, where nothing of voiceagent is installed."""

import asyncio
import json
import sys
import time
from pathlib import Path

RATE = 24_000
PIECE_SECONDS = 0.04
PIECE_BYTES = int(RATE * PIECE_SECONDS) * 2
WAIT_SECONDS = 20.0

wanted = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


def tell(**line):
    print(json.dumps(line), flush=True)


class Log:
    """The server's events, in the order in which they came."""

    def __init__(self):
        self.events = []
        self._changed = asyncio.Event()

    def add(self, event):
        tell(event=event)
        self.events.append(event)
        self._changed.set()

    def count(self, kind):
        return sum(event["type"] == kind for event in self.events)

    async def until(self, kind, count=1):
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self.count(kind) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise SystemExit(f"no {kind} ({count}) came") from None

    async def next(self, kind):
        """One more than there are by now."""
        await self.until(kind, self.count(kind) + 1)


class Microphone:
    def __init__(self):
        self._said = b""

    def say(self, name):
        self._said = Path(wanted["folder"], f"{name}.pcm").read_bytes()

    async def pieces(self):
        """What is said, and silence, at the pace of real time."""
        start, sent = time.monotonic(), 0
        while True:
            await asyncio.sleep(max(0.0, start + sent * PIECE_SECONDS - time.monotonic()))
            piece, self._said = self._said[:PIECE_BYTES], self._said[PIECE_BYTES:]
            yield piece.ljust(PIECE_BYTES, b"\0")
            sent += 1
