"""Barge-in detector: decides whether a voice interrupts the agent, in two steps. Pause at once, be sure a little later.

At the first sign of a voice the response pauses, which is a matter of sending nothing more. While the voice goes on,
the response stays paused and there is time: is it clear and near enough to be a person's, is it the agent's own echo,
do its words want an answer, is it long? Then the interruption is confirmed, or the response goes on from where it
stopped.

Pure: fed window by window, with the recogniser's words whenever they come. The windows are the clock, so the same audio
and the same words at the same windows give the same decisions at any speed.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.turn.backchannel import VoiceMeaning, meaning, repeats
from voiceagent.turn.echo import EchoJudge
from voiceagent.turn.options import BargeInSettings, BargeInThresholds, Phase
from voiceagent.turn.voice_features import (
    STILL,
    UserVoiceLevels,
    VoiceFeatures,
    WindowSound,
    below,
    is_doubtful,
    is_faint,
    sound,
)
from voiceagent.vad.base import WINDOW
from voiceagent.vad.segmenter import (
    ONSET_SPAN,
    ONSET_WINDOWS,
    PAUSE_WINDOWS,
    SegmentedWindow,
    VoicePaused,
    VoiceStarted,
)


class BargeInAction(Enum):
    """What the caller is to do."""

    NOTHING = auto()
    PAUSE = auto()
    """Send nothing more of the response, for now."""
    CONFIRM = auto()
    """The user interrupts: end the response, tell the client to flush."""
    RESUME = auto()
    """It was no interruption: go on from the sample where the response stopped, and forget what was heard."""


class WordsRequest(Enum):
    """What the caller is to get from the recogniser, for the audio since the voice's onset, and hand to `words`."""

    NOTHING = auto()
    PARTIAL = auto()
    """The words so far."""
    FINAL = auto()
    """The words of the voice that has just ended, all of them."""


class BargeInReason(Enum):
    """Why, for logs and counters: what the voice was taken for."""

    VOICE = "voice"
    COMMAND = "command"
    WORDS = "words"
    LENGTH = "length"
    BLIP = "blip"
    NOISE = "noise"
    ECHO = "echo"
    BACKCHANNEL = "backchannel"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class BargeInStep:
    """What to do after a window or after words came. `reason` is there with every action."""

    action: BargeInAction = BargeInAction.NOTHING
    reason: BargeInReason | None = None
    ask: WordsRequest = WordsRequest.NOTHING


GO_ON = BargeInStep()


WINDOW_MS = WINDOW * 1000 // EAR_RATE

ASR_MS = 96
"""So long before a decision the words for it are asked for: Moonshine takes about 40 ms for a second of
speech on an idle core, and the queue its share."""

ASK_AGAIN_MS = 384
"""Between two requests for words."""

HINT_MS = 160
"""A hint that has not become a voice by then is none. A client with a lead of 240 ms does not even hear the pause."""

BLIP_MS = 160
"""A voice that was over sooner holds no word; the recogniser is not asked."""

TAIL_MS = 608
"""After the agent's last sample its echo may still be heard: the longest delay that is looked for."""

FAINT_MS = 320
"""So long a voice is listened to before its level tells that it is somebody else's: the first syllable may be soft."""

ANSWER_MS = 480
"""The last words are waited for so long; then it is decided without them."""


class BargeInState(Enum):
    QUIET = auto()
    """There is no voice, or nothing to interrupt."""
    HINTED = auto()
    """Paused for what may become a voice."""
    UNHINTED = auto()
    """It became none so far, but goes on."""
    WATCHED = auto()
    """Paused, the voice goes on."""
    ENDED = auto()
    """Paused, the voice is over, its last words are awaited."""
    IGNORED = auto()
    """Decided: not an interruption, though it may go on."""
    ECHOING = auto()
    """Decided: the agent's own voice; somebody else's may come on top."""
    TAKEN = auto()
    """Decided: the user interrupts, or it is their turn anyway."""


PAUSED = (BargeInState.HINTED, BargeInState.WATCHED, BargeInState.ENDED)


class BargeInDetector:
    """The detector of one session. It is fed every window, also while the agent is silent, and words when it asks."""

    def __init__(self, settings: BargeInSettings | None = None) -> None:
        self.narrowband = False
        """Whether the microphone is a telephone's, which lets nothing through below 300 Hz: all are thin then."""
        self._settings = settings or BargeInSettings()
        self._speaking = False
        """Whether the latest window belongs to a voice, as the session's segmenter says."""
        self._echo = EchoJudge(self._settings.echo_db)
        self._recent: deque[WindowSound] = deque(maxlen=ONSET_SPAN)
        self._usual = UserVoiceLevels()
        self._phase = Phase.SILENT
        self._silent_ms = TAIL_MS
        """Since the agent talked."""
        self._voice: VoiceFeatures | None = None
        self._state = BargeInState.QUIET
        self._meaning = VoiceMeaning.NOTHING
        self._asked_ms = 0
        self._waited_ms = 0
        self._onset = 0

    @property
    def usual(self) -> UserVoiceLevels:
        """What is known of this user's voice."""
        return self._usual

    @property
    def onset(self) -> int:
        """The sample, as the segmenter counts them, at which the latest voice began. The recogniser is to hear
        from 300 ms before it: words begin softly."""
        return self._onset

    @property
    def deciding(self) -> bool:
        """Whether a voice has made the response pause and is still to be decided on."""
        return self._state in (BargeInState.WATCHED, BargeInState.ENDED)

    @property
    def faint(self) -> bool:
        """Whether what is heard now is surely not this user, by its level."""
        return is_faint(VoiceFeatures(self._recent), self._usual)

    @property
    def dismissed(self) -> bool:
        """Whether what is heard now is none of the user's though the agent has just fallen silent: the end of its echo,
        or what was already decided to be no interruption."""
        if self._silent_ms >= TAIL_MS:
            return False
        return self._state in (BargeInState.IGNORED, BargeInState.ECHOING) or self._echo.explains_lately or self.faint

    # -- input ------------------------------------------------------------------------------------------------------

    def hear(self, window: SegmentedWindow, phase: Phase, played: Pcm | None = None) -> BargeInStep:
        """Take the next window of the microphone.

        `played`: what the client played in that time by the playout clock, at 16 kHz and as long; None when it played
        nothing or that is not known.
        """
        probability, event, self._speaking = window.probability, window.event, window.speaking
        # While the detector is sure that nobody speaks there is nothing to measure, and that is most of the time.
        heard = sound(probability, window.pcm) if probability > 0.0 or self._voice is not None else STILL
        self._echo.hear(window.pcm, played, voice=probability > 0.0, watched=self._state is BargeInState.WATCHED)
        self._recent.append(heard)
        ended = self._follow(window, heard)
        self._phase = phase
        self._silent_ms = self._silent_ms + WINDOW_MS if phase is Phase.SILENT else 0
        if phase in (Phase.SILENT, Phase.PROTECTED):
            return self._rest(ended)
        if isinstance(event, VoicePaused):
            return self._over()
        if self._state is BargeInState.ENDED and self._speaking:
            self._state = BargeInState.WATCHED
        match self._state:
            case BargeInState.QUIET | BargeInState.HINTED | BargeInState.UNHINTED if self._voice is not None:
                return self._begin()
            case BargeInState.QUIET if self._is_hint() and not self._echo.explains_lately:
                self._state, self._waited_ms = BargeInState.HINTED, 0
                return BargeInStep(BargeInAction.PAUSE, BargeInReason.VOICE)
            case BargeInState.HINTED:
                return self._wait_for_voice()
            case BargeInState.UNHINTED if not self._is_hint():
                self._state = BargeInState.QUIET
            case BargeInState.WATCHED:
                return self._watch()
            case BargeInState.ENDED:
                return self._wait()
            case BargeInState.ECHOING if not self._echo.explains_lately:
                self._voice = VoiceFeatures(self._recent)
                return self._begin()
        return GO_ON

    def words(self, text: str, *, final: bool, spoken: str = "") -> BargeInStep:
        """Take the words that were asked for. `spoken`: the response's text of the last seconds, to know an echo by."""
        if self._voice is None or self._state not in (BargeInState.WATCHED, BargeInState.ENDED):
            return GO_ON
        if repeats(text, spoken):
            return self._ignore(
                BargeInReason.ECHO, BargeInState.ECHOING if self._echo.explains else BargeInState.IGNORED
            )
        self._meaning = meaning(text, cut=not final)
        if self._state is BargeInState.WATCHED:
            return self._judge(self._voice)
        return self._conclude(self._voice) if final else GO_ON

    def release(self) -> None:
        """The user has interrupted by other means than the voice, such as a button: judge the next voice afresh."""
        self._settle(BargeInState.TAKEN)

    # -- the voice --------------------------------------------------------------------------------------------------

    def _follow(self, window: SegmentedWindow, heard: WindowSound) -> VoiceFeatures | None:
        """Measure the voice; returns the one that has just ended."""
        match window.event:
            case VoiceStarted(sample) if self._state is not BargeInState.ENDED or self._voice is None:
                self._onset = sample
                windows = (window.end - sample) // WINDOW
                self._voice = VoiceFeatures(list(self._recent)[-windows:])
                return None
            case VoicePaused() if self._state not in (BargeInState.WATCHED, BargeInState.ENDED):
                ended, self._voice = self._voice, None
                self._state = BargeInState.QUIET
                return ended
        if self._voice is not None and self._speaking:
            self._voice.add(heard)
        return None

    def _rest(self, ended: VoiceFeatures | None) -> BargeInStep:
        """Nothing is to be decided. A voice still in doubt is the user's turn if the agent is silent now."""
        silent = self._phase is Phase.SILENT
        if silent and ended is not None and max(ended.clear, ended.clearest) >= self._settings.clear:
            self._usual.learn(ended)
        if self._state not in PAUSED:
            return GO_ON
        heard = self._state is not BargeInState.HINTED
        self._settle(BargeInState.TAKEN)
        return BargeInStep(BargeInAction.CONFIRM if silent and heard else BargeInAction.RESUME, BargeInReason.VOICE)

    # -- deciding ---------------------------------------------------------------------------------------------------

    def _begin(self) -> BargeInStep:
        self._meaning, self._asked_ms = VoiceMeaning.NOTHING, 0
        paused = self._state is BargeInState.HINTED
        if self._echo.explains_lately:
            self._state = BargeInState.ECHOING
            return BargeInStep(BargeInAction.RESUME, BargeInReason.ECHO) if paused else GO_ON
        self._state = BargeInState.WATCHED
        return GO_ON if paused else BargeInStep(BargeInAction.PAUSE, BargeInReason.VOICE)

    def _wait_for_voice(self) -> BargeInStep:
        self._waited_ms += WINDOW_MS
        if self._waited_ms < HINT_MS:
            return GO_ON
        self._state = BargeInState.UNHINTED
        return BargeInStep(BargeInAction.RESUME, BargeInReason.BLIP)

    def _watch(self) -> BargeInStep:
        assert self._voice is not None
        if self._echo.explains:
            return self._ignore(BargeInReason.ECHO, BargeInState.ECHOING)
        step = self._judge(self._voice)
        milliseconds = self._voice.windows * WINDOW_MS
        first = self._thresholds.words_ms - ASR_MS
        if step is GO_ON and milliseconds >= max(first, self._asked_ms + ASK_AGAIN_MS):
            self._asked_ms = milliseconds
            return BargeInStep(ask=WordsRequest.PARTIAL)
        return step

    def _judge(self, voice: VoiceFeatures) -> BargeInStep:
        """The voice goes on: is it surely an interruption?"""
        milliseconds, thresholds = voice.windows * WINDOW_MS, self._thresholds
        said = self._meaning
        if is_faint(voice, self._usual):
            return self._ignore(BargeInReason.NOISE) if milliseconds >= FAINT_MS else GO_ON
        if thresholds.answers and said is VoiceMeaning.BACKCHANNEL:
            said = VoiceMeaning.WORDS
        if self._is_doubtful(voice):
            if milliseconds < thresholds.doubtful_ms:
                return GO_ON
            return (
                self._confirm(BargeInReason.WORDS) if said is VoiceMeaning.WORDS else self._ignore(BargeInReason.NOISE)
            )
        match said:
            case VoiceMeaning.COMMAND:
                return self._confirm(BargeInReason.COMMAND)
            case VoiceMeaning.WORDS if milliseconds >= thresholds.words_ms:
                return self._confirm(BargeInReason.WORDS)
            case VoiceMeaning.NOTHING if milliseconds >= thresholds.voice_ms:
                return self._confirm(BargeInReason.LENGTH)
            case VoiceMeaning.BACKCHANNEL if milliseconds >= thresholds.listening_ms:
                return self._confirm(BargeInReason.LENGTH)
        return GO_ON

    def _over(self) -> BargeInStep:
        """The voice has ended: was it too short to say anything? Else its words tell."""
        if self._state is not BargeInState.WATCHED or self._voice is None:
            return GO_ON
        if _spoken_ms(self._voice) < BLIP_MS:
            return self._ignore(BargeInReason.BLIP)
        self._state = BargeInState.ENDED
        self._waited_ms = 0
        return BargeInStep(ask=WordsRequest.FINAL)

    def _wait(self) -> BargeInStep:
        assert self._voice is not None
        self._waited_ms += WINDOW_MS
        return self._conclude(self._voice) if self._waited_ms >= ANSWER_MS else GO_ON

    def _conclude(self, voice: VoiceFeatures) -> BargeInStep:
        """The voice has ended and its words are known, as far as they will be."""
        if is_faint(voice, self._usual):
            return self._ignore(BargeInReason.NOISE)
        match self._meaning:
            case VoiceMeaning.COMMAND if voice.clear >= self._settings.clear / 2:
                return self._confirm(BargeInReason.COMMAND)
            case VoiceMeaning.BACKCHANNEL if self._thresholds.answers:
                return self._confirm(BargeInReason.WORDS)
            case VoiceMeaning.BACKCHANNEL | VoiceMeaning.NOTHING:
                return self._ignore(
                    BargeInReason.BACKCHANNEL if self._meaning is VoiceMeaning.BACKCHANNEL else BargeInReason.NOISE
                )
        if self._is_doubtful(voice):
            return self._ignore(BargeInReason.NOISE)
        if _spoken_ms(voice) < self._thresholds.short_ms:
            return self._ignore(BargeInReason.SHORT)
        if voice.hum < below(self._settings.hum_db, self._usual.hum):
            return self._ignore(BargeInReason.BACKCHANNEL)
        return self._confirm(BargeInReason.WORDS)

    def _confirm(self, reason: BargeInReason) -> BargeInStep:
        self._settle(BargeInState.TAKEN)
        return BargeInStep(BargeInAction.CONFIRM, reason)

    def _ignore(self, reason: BargeInReason, state: BargeInState = BargeInState.IGNORED) -> BargeInStep:
        self._settle(state)
        return BargeInStep(BargeInAction.RESUME, reason)

    def _settle(self, state: BargeInState) -> None:
        self._state = state if self._speaking else BargeInState.QUIET
        if not self._speaking:
            self._voice = None

    # -- signs ------------------------------------------------------------------------------------------------------

    @property
    def _thresholds(self) -> BargeInThresholds:
        return self._settings.thresholds(self._phase)

    def _is_hint(self) -> bool:
        return sum(heard.probability >= self._settings.hint for heard in self._recent) >= ONSET_WINDOWS

    def _is_doubtful(self, voice: VoiceFeatures) -> bool:
        return is_doubtful(voice, self._usual, self._settings, narrowband=self.narrowband)


def _spoken_ms(voice: VoiceFeatures) -> int:
    """How long a voice was that has ended: the quiet by which its end was known does not count."""
    return (voice.windows - PAUSE_WINDOWS + 1) * WINDOW_MS
