"""What all telephone protocols do alike between a call and a session, whatever their messages look like.

A protocol parses what arrives and calls the methods here; it gives its own words for sending as a `TelephoneLine`.
"""

import itertools
from dataclasses import replace

from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import (
    Action,
    CallControl,
    CloseSocket,
    EndReason,
    Execute,
    Frame,
    HangUp,
    Send,
    SendDigits,
    SetTimer,
    Transfer,
)
from voiceagent.channels.telephone.audio import tones
from voiceagent.channels.telephone.call import Call, CallOptions, filled_in
from voiceagent.channels.telephone.caller_input import KEYS, Gaps, Keypad
from voiceagent.channels.telephone.playout import CallPlayout, TelephoneLine
from voiceagent.channels.telephone.tools import CallAction, WrongCall, call_action, specs
from voiceagent.session import events
from voiceagent.session.commands import AppendAudio, Configure, CreateItem, CreateResponse, Interrupt
from voiceagent.session.conversation import FunctionOutput, Item, Part

FRAME_MS = 60
"""What the session sends at a time."""
UNMARKED_SECONDS = 0.25
"""After the last audio of a line that does not tell what was played: what the other side still holds is to be heard."""
TICK_SECONDS = 0.25
TICKS_LOST = 4
"""At the fourth tick without audio, after 750 ms or a little more, a second of silence stands in for it: a turn would
never end otherwise."""
LOST_MS = 1000
HELD_SECONDS = 0.05
"""How long audio too short for a message waits for more."""
FAREWELL_SECONDS = 2.0
"""How long the last mark of a goodbye is waited for, once it should have been played."""
INTERRUPTED = "not done: the caller interrupted"
CLOSE_CODES: dict[EndReason, int] = {"draining": 1001, "too_slow": 1008, "internal_error": 1011}
"""RFC 6455; every other end is 1000."""


class TelephoneProtocol:
    """One call. `message_ms` and `grain_ms`: see `CallPlayout`."""

    def __init__(
        self,
        options: CallOptions,
        line: TelephoneLine,
        call: Call,
        rate: int,
        *,
        message_ms: int = 50,
        grain_ms: int = 0,
    ) -> None:
        self._options = options
        self._line = line
        self._call = call
        self._rate = rate
        self._frame_ms = max(FRAME_MS, message_ms)
        self._gaps = Gaps(rate)
        self._keypad = Keypad(options)
        self._speech = CallPlayout(line, rate, message_ms=message_ms, grain_ms=grain_ms)
        self._replying: str | None = None
        self._holding = False
        self._errands: list[CallAction] = []
        """What waits for its reply to be heard."""
        self._sent_out: dict[str, CallAction] = {}
        """What the vendor's interface was asked to do, by reference."""
        self._refs = itertools.count(1)
        self._reply_due = False
        """Something failed, and the model is to say so."""
        self._quiet_ticks = TICKS_LOST

    def begin(self) -> list[Action]:
        """The call is there: how the session is to be held, and the greeting."""
        options, variables = self._options, self._call.variables()
        session = replace(
            options.session,
            output_rate=self._rate,
            variables={**options.session.variables, **variables},
            user=self._call.user,
            tools=(*options.session.tools, *specs(options)),
            lead_ms=options.lead_ms,
            frame_ms=self._frame_ms,
        )
        actions: list[Action] = [Execute(Configure(session)), SetTimer("tick", TICK_SECONDS)]
        if greeting := filled_in(options.greeting, variables).strip():
            actions.append(Execute(CreateResponse(words=greeting)))
        return actions

    # -- from the caller --------------------------------------------------------------------------------------------

    def hear(self, pcm: Pcm, at_ms: int | None = None) -> list[Action]:
        """The caller's audio; `at_ms` is its time stamp, where there are any."""
        self._quiet_ticks = 0
        return [Execute(AppendAudio(self._gaps.fill(pcm, at_ms), self._rate))] if len(pcm) else []

    def key(self, key: str) -> list[Action]:
        """The caller pressed a key: that interrupts, as a voice does."""
        if key not in KEYS:
            return []
        actions = self._interrupt()
        digits = self._keypad.press(key)
        if digits is None:
            return [*actions, SetTimer("keys", self._options.key_seconds)]
        return [*actions, SetTimer("keys", None), *self._keyed_in(digits)]

    def played(self, mark: str) -> list[Action]:
        """A mark came back."""
        report = self._speech.played(mark)
        if report is None:
            return []
        actions: list[Action] = [Execute(report)]
        if self._errands and self._replying is None and not self._speech.marked:
            actions += self._run_errands()
        return actions

    def on_timer(self, name: str) -> list[Action]:
        match name:
            case "tick":
                return [*self._tick(), SetTimer("tick", TICK_SECONDS)]
            case "keys":
                digits = self._keypad.complete()
                return [*self._interrupt(), *self._keyed_in(digits)] if digits else []
            case "held":
                self._holding = False
                return [Send(frame) for frame in self._speech.flush()]
            case "farewell":
                return self._run_errands()
            case _:
                return []

    def _tick(self) -> list[Action]:
        self._quiet_ticks += 1
        if self._quiet_ticks != TICKS_LOST:
            return []
        return [Execute(AppendAudio(self._gaps.lost(LOST_MS), self._rate))]

    def _interrupt(self) -> list[Action]:
        return [Execute(Interrupt()), *self._forget_errands(), *(Send(frame) for frame in self._speech.clear())]

    def _keyed_in(self, digits: str) -> list[Action]:
        words = self._options.key_words.replace("{digits}", digits)
        return [Execute(CreateItem(Item("", "user", (Part("text", words),)))), Execute(CreateResponse())]

    # -- from the session -------------------------------------------------------------------------------------------

    def tell(self, event: events.Event) -> list[Frame | Action]:
        match event:
            case events.ResponseStarted(response_id=response_id):
                self._replying = response_id
                return []
            case events.ResponseAudio(item_id=item_id, pcm=pcm):
                return [*self._speech.say(item_id, pcm), *self._hold()]
            case events.ResponseDone(status=status):
                self._replying = None
                if status == "cancelled":
                    return [*self._silence(cut=True), *self._forget_errands()]
                return [*self._speech.flush(), *self._hold()]
            case events.SpeechStarted() if self._replying is None:
                # The reply was all sent, and its end may still wait in the other side's queue.
                return [*self._silence(), *self._forget_errands()]
            case events.ToolCalled(by_client=True, call=call):
                self._errands.append(call_action(call, self._options))
                return []
            case events.ResponsePlayed():
                return self._reply_played()
            case _:
                return []

    def _silence(self, *, cut: bool = False) -> list[Frame | Action]:
        return [*self._speech.clear(cut=cut), *self._hold()]

    def _hold(self) -> list[Action]:
        """See to it that audio too short for a message does not wait for ever."""
        if self._holding == self._speech.held:
            return []
        self._holding = self._speech.held
        return [SetTimer("held", HELD_SECONDS if self._holding else None)]

    def _reply_played(self) -> list[Frame | Action]:
        self._speech.settled()
        if not self._errands or self._replying is not None:
            return []
        if self._speech.marked:
            return [SetTimer("farewell", FAREWELL_SECONDS)]
        if not self._line.has_marks:
            return [SetTimer("farewell", UNMARKED_SECONDS)]
        return [*self._run_errands()]

    # -- what the model wants done with the call --------------------------------------------------------------------

    def _forget_errands(self) -> list[Action]:
        """The caller has something to say first."""
        forgotten, self._errands = self._errands, []
        if not forgotten:
            return []
        return [SetTimer("farewell", None), *(_result(call_action, INTERRUPTED) for call_action in forgotten)]

    def _run_errands(self) -> list[Action]:
        errands, self._errands = self._errands, []
        actions: list[Action] = [SetTimer("farewell", None)]
        for wanted in errands:
            actions += self._run(wanted)
        return [*actions, *self._reply()]

    def _run(self, wanted: CallAction) -> list[Action]:
        options, operation = self._options, wanted.operation
        match operation:
            case WrongCall():
                return [self._failed(wanted, str(operation))]
            case SendDigits(digits):
                frame = self._line.digits(digits)
                if frame is not None:
                    return [Send(frame), _result(wanted, "sent")]
                if not options.controls_digits:
                    sound = self._line.audio(tones(digits, self._rate))
                    return [*(Send(frame) for frame in sound), _result(wanted, "sent")]
            case Transfer(destination) if destination == options.closes_to:
                return [_result(wanted, "done"), CloseSocket(1000, "")]
            case HangUp() if not options.controlled and not options.closes_to:
                return [_result(wanted, "done"), CloseSocket(1000, "")]
            case _ if not options.controlled:
                return [self._failed(wanted, "this line cannot do that")]
        ref = f"c{next(self._refs)}"
        self._sent_out[ref] = wanted
        return [CallControl(operation, ref)]

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        """What became of a Control."""
        wanted = self._sent_out.pop(ref, None)
        if wanted is None:
            return []
        if failure is not None:
            return [self._failed(wanted, failure), *self._reply()]
        leaves = not isinstance(wanted.operation, SendDigits)
        return [_result(wanted, "done"), *([CloseSocket(1000, "")] if leaves else self._reply())]

    def _failed(self, wanted: CallAction, why: str) -> Execute:
        self._reply_due = True
        return _result(wanted, f"failed: {why}")

    def _reply(self) -> list[Action]:
        """Have the model tell of what failed, once all results are there."""
        due = self._reply_due and not self._sent_out
        self._reply_due = self._reply_due and not due
        return [Execute(CreateResponse())] if due else []

    @staticmethod
    def end(reason: EndReason) -> tuple[list[Frame], int]:
        """There are no last words on the telephone: the stream ends."""
        return [], CLOSE_CODES.get(reason, 1000)


def _result(wanted: CallAction, output: str) -> Execute:
    return Execute(CreateItem(FunctionOutput("", wanted.call_id, output)))
