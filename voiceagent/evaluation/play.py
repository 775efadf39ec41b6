"""Plays one scenario against a server at the pace of real time."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from voiceagent_client.conversation import Conversation
from voiceagent_client.happenings import Happening, Interrupted
from voiceagent_client.pcm import FRAME_SECONDS, RATE
from voiceagent_client.playback import Player
from voiceagent_client.wav import recording

from voiceagent.evaluation.device import ScenarioDevice
from voiceagent.evaluation.record import Interjected, Record, SpeechSpan, TurnRecord
from voiceagent.evaluation.scenario import Interjection
from voiceagent.evaluation.stage import Staged, StagedSpeech, StagedTurn
from voiceagent.evaluation.tap import Notes, TappedConnection

LEAD_IN_SECONDS = 0.4
"""Before the first words: a detector gets to know the line."""
SETTLED_SECONDS = 0.8
"""When nothing has happened for so long after an answer, the turn is over."""
UNSURE_SECONDS = 5.0
"""The same when the only answer began before the user had finished, or was taken back: another may follow."""
STALLED_SECONDS = 20.0
"""When nothing has happened for so long without an answer, none will come."""
TURN_SECONDS = 90.0
"""A turn is ended after so long in any case."""
WORDS_SECONDS = 3.0
"""How long words that the server owes are waited for at the end."""
AHEAD_SECONDS = 0.06
"""An interjection is decided on so long before it begins: a little more than two frames."""


async def play(staged: Staged, url: str, key: str | None = None, out: Path | None = None) -> Record:
    """`out`: where a stereo recording goes, the microphone on the left. Raises ClientError when the server cannot be
    reached or ends the talk."""
    record, player = Record(), Player()
    with nullcontext() if out is None else recording(out) as recorder:
        device = ScenarioDevice(player, staged.microphone(), record.track, recorder)
        notes = Notes(record, lambda: device.position)

        def notice(happening: Happening) -> None:
            if isinstance(happening, Interrupted):
                notes.cut(happening.item_id, happening.played_ms)

        async with TappedConnection(url, key, staged.scenario, notes.event) as connection:
            performance = Performance(staged, record, device, player, notes)
            await Conversation(connection, device, player, notice).run(performance.run())
    return record


class Performance:
    """Speaks the turns, each when the answer to the one before has been heard."""

    def __init__(self, staged: Staged, record: Record, device: ScenarioDevice, player: Player, notes: Notes) -> None:
        self._staged = staged
        self._record = record
        self._device = device
        self._player = player
        self._notes = notes
        self._latest = 0  # one past the last sample of all speech so far
        self._asked = SpeechSpan(0, 0, "")  # the latest words that want an answer

    async def run(self) -> None:
        await asyncio.sleep(LEAD_IN_SECONDS)
        for turn in self._staged.turns:
            await self._turn(turn)
        try:
            async with asyncio.timeout(WORDS_SECONDS):
                await self._until(lambda: not self._notes.untold)
        except TimeoutError:
            return  # measured as words that are not there

    async def _turn(self, staged: StagedTurn) -> None:
        device, begin = self._device, self._device.position
        spoken = device.say(staged.speech)
        turn = TurnRecord(staged.turn, begin, spoken)
        self._record.turns.append(turn)
        self._asked, self._latest = spoken, spoken.end
        try:
            async with asyncio.timeout(TURN_SECONDS):
                for plan, utterance in staged.meanwhile:
                    turn.interjected.append(await self._interject(plan, utterance, spoken))
                await self._settle(turn)
        except TimeoutError:
            turn.trouble.append(f"not over after {TURN_SECONDS:g} s")
        turn.over = device.position

    async def _interject(self, plan: Interjection, utterance: StagedSpeech, turn: SpeechSpan) -> Interjected:
        device, track = self._device, self._record.track
        base = await self._base(plan, turn)
        if base is None:
            return Interjected(plan, None)
        onset = base + plan.after_ms * RATE // 1000
        # The part before the first sample of speech is heard too.
        while device.position < onset - utterance.onset - AHEAD_SECONDS * RATE:
            if plan.after == "answer" and self._answered(turn.end, cancelled=True):
                return Interjected(plan, None)
            await asyncio.sleep(FRAME_SECONDS / 2)
        spoken = device.say(utterance, onset)
        self._latest = max(self._latest, spoken.end)
        if plan.kind == "interruption":
            self._asked = spoken
        await self._until(lambda: device.position >= spoken.end)
        return Interjected(plan, spoken, track.talking(spoken.onset))

    async def _base(self, plan: Interjection, turn: SpeechSpan) -> int | None:
        """The sample from which an interjection counts its time; None when it never comes."""
        if plan.after == "turn":
            return turn.end
        while True:
            if plan.after == "answer":
                base = self._record.track.first_audible(turn.end)
            else:
                base = next((commit.at for commit in self._record.commits if commit.at >= turn.end), None)
            if base is not None:
                return base
            if self._seconds_since(turn.end) > STALLED_SECONDS:
                return None
            await asyncio.sleep(FRAME_SECONDS / 2)

    async def _settle(self, turn: TurnRecord) -> None:
        """Until the answer has been heard."""
        while True:
            await asyncio.sleep(FRAME_SECONDS)
            audible = self._record.track.last_audible(turn.begin, self._device.position) or 0
            idle = self._seconds_since(max(self._latest, self._notes.last, audible))
            if idle > STALLED_SECONDS:
                if turn.turn.expect.answered:
                    turn.trouble.append(f"no answer within {STALLED_SECONDS:g} s")
                return
            if idle > SETTLED_SECONDS and self._answered(self._asked.end):
                return
            if idle > UNSURE_SECONDS and self._answered(self._asked.onset, cancelled=True):
                return

    def _answered(self, since: int, *, cancelled: bool = False) -> bool:
        """Whether an answer was begun after that, not taken back unless that counts too, and all of it was played."""
        answered = any(
            response.created >= since and (cancelled or response.status != "cancelled")
            for response in self._record.responses.values()
        )
        return answered and self._notes.active is None and self._player.idle

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Frame by frame: the microphone's clock is what everything is measured by."""
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(FRAME_SECONDS / 2)

    def _seconds_since(self, sample: int) -> float:
        return (self._device.position - sample) / RATE
