"""Call handler: what all telephone protocols do alike between a call and a session, whatever their messages look like.

A protocol parses what arrives and calls the methods here; it gives its own messages for sending as a `TelephoneLine`.
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
    Warn,
)
from voiceagent.channels.telephone.audio import tones
from voiceagent.channels.telephone.call import Call, CallOptions, filled_in
from voiceagent.channels.telephone.caller_input import KEYS, GapFiller, Keypad
from voiceagent.channels.telephone.playout import CallPlayout, TelephoneLine
from voiceagent.channels.telephone.tools import CallAction, WrongCall, call_action, specs
from voiceagent.session import events
from voiceagent.session.commands import AppendAudio, Configure, CreateItem, CreateResponse, Interrupt
from voiceagent.session.conversation import FunctionOutput, Item, Part

FRAME_MS = 60
"""What the session sends at a time."""
TICK_SECONDS = 0.25
TICKS_LOST = 4
"""At the fourth tick without audio, after 750 ms or a little more, a second of silence stands in for it: a turn would
never end otherwise."""
LOST_MS = 1000
HELD_SECONDS = 0.05
"""How long audio too short for a message waits for more."""
FAREWELL_SECONDS = 2.0
"""How long the last mark of a goodbye is waited for, once it should have been played."""
LISTEN_SECONDS = 0.7
"""How long the caller is listened to after a goodbye before the call is left. Without it, voices that began in its last
0.3 s were cut off and those of 0.4 s were not (the calls of `tests/channels/telephone/test_calls.py`); the line's delay
comes on top."""
ONE_WAY_SECONDS = 3.0
"""How long after a response the first mark of a call may come back. Where none does, the caller does not hear us."""
ONE_WAY = Warn(
    "one_way_stream",
    "the caller cannot hear the agent: the stream was started one-way (<Start><Stream>); use <Connect><Stream>",
)
INTERRUPTED = "not done: the caller interrupted"
CLOSE_CODES: dict[EndReason, int] = {"draining": 1001, "too_slow": 1008, "internal_error": 1011}
"""RFC 6455; every other end is 1000."""


class CallHandler:
    """One call. `rate` is that of the audio we send in Hz, `caller_rate` that of the caller's where it is another one.
    `message_ms` and `grain_ms`: see `CallPlayout`.

    A call is left (hang-up, transfer) only after the words that announce it were heard and the caller had a moment to
    answer them. Whoever speaks or presses a key until then is heard, and the call goes on."""

    def __init__(
        self,
        options: CallOptions,
        line: TelephoneLine,
        call: Call,
        rate: int,
        *,
        caller_rate: int | None = None,
        message_ms: int = 50,
        grain_ms: int = 0,
    ) -> None:
        self._options = options
        self._line = line
        self._call = call
        self._rate = rate
        self._caller_rate = caller_rate or rate
        self._frame_ms = max(FRAME_MS, message_ms)
        self._gaps = GapFiller(self._caller_rate)
        self._keypad = Keypad(options)
        self._playout = CallPlayout(line, rate, message_ms=message_ms, grain_ms=grain_ms)
        self._response_id: str | None = None
        """The response that is being sent."""
        self._holding = False
        """A timer runs for audio too short for a message."""
        self._pending: list[CallAction] = []
        """Call actions that wait for their response to be heard."""
        self._interrupted: list[CallAction] = []
        """Call actions that a voice has stopped of which no words are known yet: a cough ends no goodbye."""
        self._in_progress: dict[str, CallAction] = {}
        """What the vendor's interface was asked to do, by reference."""
        self._refs = itertools.count(1)
        self._response_due = False
        """Something failed, and the model is to say so."""
        self._caller_speaks = False
        self._digits_before = False
        """Digits were added when the caller began to speak, and are answered with what they say."""
        self._digits_after: list[str] = []
        """Digits completed while the caller speaks: they come after what is said."""
        self._ticks_without_audio = TICKS_LOST
        self._marks_return = False
        self._warned = False

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
        self._ticks_without_audio = 0
        return [Execute(AppendAudio(self._gaps.fill(pcm, at_ms), self._caller_rate))] if len(pcm) else []

    def press(self, key: str) -> list[Action]:
        """The caller pressed a key: that interrupts, as a voice does."""
        if key not in KEYS:
            return []
        actions = self._interrupt()
        digits = self._keypad.press(key)
        if digits is None:
            return [*actions, SetTimer("keys", self._options.key_seconds)]
        return [*actions, SetTimer("keys", None), *self._digits_complete(digits)]

    def played(self, mark: str) -> list[Action]:
        """A mark came back."""
        self._marks_return = True
        report = self._playout.played(mark)
        if report is None:
            return []
        actions: list[Action] = [Execute(report)]
        if self._pending and self._response_id is None and not self._playout.marked:
            actions += self._goodbye_heard()
        return actions

    def on_timer(self, name: str) -> list[Action]:
        """A timer's time has come."""
        match name:
            case "tick":
                return [*self._tick(), SetTimer("tick", TICK_SECONDS)]
            case "keys":
                digits = self._keypad.complete()
                return [*self._interrupt(), *self._digits_complete(digits)] if digits else []
            case "held":
                self._holding = False
                return [Send(frame) for frame in self._playout.flush()]
            case "farewell":
                return self._goodbye_heard()
            case "listen" if self._response_id is None:
                return self._run_pending()
            case "one-way":
                return [] if self._marks_return else self.warn_one_way()
            case _:
                return []

    def warn_one_way(self) -> list[Action]:
        """Tell the operator, once, that the caller does not hear us."""
        if self._warned:
            return []
        self._warned = True
        return [ONE_WAY]

    def _tick(self) -> list[Action]:
        self._ticks_without_audio += 1
        if self._ticks_without_audio != TICKS_LOST:
            return []
        return [Execute(AppendAudio(self._gaps.lost(LOST_MS), self._caller_rate))]

    def _interrupt(self) -> list[Action]:
        return [Execute(Interrupt()), *self._drop_pending(), *(Send(frame) for frame in self._playout.clear())]

    # -- keyed digits -----------------------------------------------------------------------------------------------

    def _digits_complete(self, digits: str) -> list[Action]:
        """Answer them; while the caller speaks, after what they say."""
        if self._caller_speaks:
            self._digits_after.append(digits)
            return []
        self._interrupted = []
        return [self._digits_item(digits), Execute(CreateResponse())]

    def _digits_item(self, digits: str) -> Execute:
        words = self._options.key_words.replace("{digits}", digits)
        return Execute(CreateItem(Item("", "user", (Part("text", words),))))

    def _digits_before_speech(self) -> list[Action]:
        """Digits are complete when the caller speaks: what they say comes after them, and is answered with them."""
        digits = self._keypad.complete()
        if not digits:
            return []
        self._digits_before = True
        return [SetTimer("keys", None), self._digits_item(digits)]

    def _digits_after_speech(self) -> list[Action]:
        """The caller's turn is over, and not answered without the digits that came with it."""
        items, self._digits_after = [self._digits_item(digits) for digits in self._digits_after], []
        return [Execute(Interrupt()), *items, Execute(CreateResponse())] if items else []

    # -- from the session -------------------------------------------------------------------------------------------

    def encode(self, event: events.Event) -> list[Frame | Action]:
        """What to send for an event of the session, and what to do about it."""
        match event:
            case events.ResponseStarted(response_id=response_id):
                self._response_id, self._digits_before, self._interrupted = response_id, False, []
                self._pending = [wanted for wanted in self._pending if wanted.call_id]
                return []
            case events.ResponseAudio(item_id=item_id, pcm=pcm):
                return [*self._playout.say(item_id, pcm), *self._hold()]
            case events.ResponseDone(status=status):
                self._response_id = None
                if status == "cancelled":
                    return [*self._silence(cut=True), *self._drop_pending()]
                return [*self._playout.flush(), *self._hold()]
            case events.SpeechStarted():
                return self._speech_started()
            case events.SpeechStopped():
                self._caller_speaks = False
                return []
            case events.AudioCommitted():
                return [*self._digits_after_speech()]
            case events.TranscriptDone(text=text):
                return [*self._understood(text)]
            case events.ToolCalled(by_client=True, call=call):
                self._pending.append(call_action(call, self._options))
                return []
            case events.ResponsePlayed():
                return self._response_played()
            case _:
                return []

    def _speech_started(self) -> list[Frame | Action]:
        self._caller_speaks = True
        # A response that was all sent may still wait, with its end, in the other side's queue.
        queued = self._silence() if self._response_id is None else []
        stopped = [wanted for wanted in self._pending if not isinstance(wanted.operation, SendDigits)]
        dropped = self._drop_pending()
        self._interrupted = [replace(wanted, call_id="") for wanted in stopped]  # their results are told
        return [*queued, *dropped, *self._digits_before_speech()]

    def _understood(self, text: str) -> list[Action]:
        """The words of the caller's turn are known: without any, nobody answers it."""
        before, self._digits_before = self._digits_before, False
        interrupted, self._interrupted = self._interrupted, []
        if any(char.isalnum() for char in text):
            return []
        if before:
            return [Execute(Interrupt()), Execute(CreateResponse())]
        if interrupted and self._response_id is None:
            self._pending = interrupted
            return [SetTimer("listen", LISTEN_SECONDS)]
        return []

    def _silence(self, *, cut: bool = False) -> list[Frame | Action]:
        return [*self._playout.clear(cut=cut), *self._hold()]

    def _hold(self) -> list[Action]:
        """See to it that audio too short for a message does not wait for ever."""
        if self._holding == self._playout.held:
            return []
        self._holding = self._playout.held
        return [SetTimer("held", HELD_SECONDS if self._holding else None)]

    def _response_played(self) -> list[Frame | Action]:
        """By the clock the caller has heard the response; marks tell more exactly."""
        self._playout.settled()
        actions: list[Frame | Action] = []
        if self._playout.marked and not self._marks_return and not self._warned:
            actions.append(SetTimer("one-way", ONE_WAY_SECONDS))
        if self._pending and self._response_id is None:
            if self._playout.marked:
                actions.append(SetTimer("farewell", FAREWELL_SECONDS))
            else:
                actions += self._goodbye_heard()
        return actions

    # -- what the model wants done with the call --------------------------------------------------------------------

    def _goodbye_heard(self) -> list[Action]:
        """The words of the response were heard: leave when the caller has nothing to say to that. Digits need not
        wait."""
        actions: list[Action] = [SetTimer("farewell", None)]
        if all(isinstance(wanted.operation, SendDigits | WrongCall) for wanted in self._pending):
            return [*actions, *self._run_pending()]
        return [*actions, SetTimer("listen", LISTEN_SECONDS)]

    def _drop_pending(self) -> list[Action]:
        """The caller has something to say first."""
        self._interrupted = []
        dropped, self._pending = self._pending, []
        if not dropped:
            return []
        results = [result for wanted in dropped for result in _result(wanted, INTERRUPTED)]
        return [SetTimer("farewell", None), SetTimer("listen", None), *results]

    def _run_pending(self) -> list[Action]:
        pending, self._pending = self._pending, []
        actions = [action for wanted in pending for action in self._run(wanted)]
        return [*actions, *self._tell_failures()]

    def _run(self, wanted: CallAction) -> list[Action]:
        options, operation = self._options, wanted.operation
        match operation:
            case WrongCall():
                return self._failed(wanted, str(operation))
            case SendDigits(digits):
                frame = self._line.digits(digits)
                if frame is not None:
                    return [Send(frame), *_result(wanted, "sent")]
                if not options.controls_digits:
                    sound = self._line.audio(tones(digits, self._rate))
                    return [*(Send(frame) for frame in sound), *_result(wanted, "sent")]
            case Transfer(destination) if destination == options.closes_to:
                return [*_result(wanted, "done"), CloseSocket(1000, "")]
            case HangUp() if not options.controlled and not options.closes_to:
                return [*_result(wanted, "done"), CloseSocket(1000, "")]
            case _ if not options.controlled:
                return self._failed(wanted, "this line cannot do that")
        ref = f"c{next(self._refs)}"
        self._in_progress[ref] = wanted
        return [CallControl(operation, ref)]

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        """What became of a CallControl."""
        wanted = self._in_progress.pop(ref, None)
        if wanted is None:
            return []
        if failure is not None:
            return [*self._failed(wanted, failure), *self._tell_failures()]
        leaves = not isinstance(wanted.operation, SendDigits)
        return [*_result(wanted, "done"), *([CloseSocket(1000, "")] if leaves else self._tell_failures())]

    def _failed(self, wanted: CallAction, why: str) -> list[Action]:
        self._response_due = True
        return _result(wanted, f"failed: {why}")

    def _tell_failures(self) -> list[Action]:
        """Have the model tell of what failed, once all results are there."""
        due = self._response_due and not self._in_progress
        self._response_due = self._response_due and not due
        return [Execute(CreateResponse())] if due else []

    @staticmethod
    def end(reason: EndReason) -> tuple[list[Frame], int]:
        """There are no last words on the telephone: the stream ends."""
        return [], CLOSE_CODES.get(reason, 1000)


def _result(wanted: CallAction, output: str) -> list[Action]:
    """Tell the model what became of its call, unless it was told already."""
    return [Execute(CreateItem(FunctionOutput("", wanted.call_id, output)))] if wanted.call_id else []
