"""What came of each turn, measured from the record of a talk."""

from dataclasses import dataclass, field

from voiceagent_client.pcm import FRAME, RATE, Pcm, first_audible, to_ms

from voiceagent.evaluation import words
from voiceagent.evaluation.record import Arrival, CutRecord, Interjected, Record, SpeechSpan, TurnRecord
from voiceagent.evaluation.scenario import MicrophoneSettings

LATE = 3 * RATE // 2
"""A server may take so long after an interjection to stop the agent for it."""
ENDED = ("completed", "incomplete")
"""How a response ends that was not stopped; incomplete is one that reached its limit of tokens."""
REPEAT = RATE
"""How far back it is looked for audio that is sent twice."""


@dataclass(slots=True)
class TurnResult:
    """Times in milliseconds."""

    text: str
    user_text: str = ""
    agent_text: str = ""
    response_ms: list[int] = field(default_factory=list)
    """From the last speech sample sent to the first audible sample received: of the turn, and of each interruption."""
    unanswered: bool = False
    cut_off: bool = False
    """The server took the turn for finished before it was."""
    interruptions: int = 0
    missed: int = 0
    """Interruptions that did not stop the agent."""
    silence_ms: list[int] = field(default_factory=list)
    """From an interruption's onset to the last audible sample of the agent played."""
    distractions: int = 0
    """Backchannels, noises and replies under noise or echo, none of which ought to stop the agent."""
    false: int = 0
    """Those that did."""
    late: int = 0
    """Interjections for which the answer was over too soon."""
    resumed: list[bool] = field(default_factory=list)
    """Of each reply that was distracted and not stopped: it was played to its end, nothing lost or repeated."""
    heard: list[tuple[str, str, Pcm]] = field(default_factory=list)
    """Of each reply that was stopped: its text, what the server says was heard of it, and the audio played of it."""
    heard_words_off: list[int] = field(default_factory=list)
    word_errors: int = 0
    words: int = 0
    trouble: list[str] = field(default_factory=list)

    @property
    def interrupted(self) -> bool:
        return self.interruptions > self.missed or self.false > 0


def measure(record: Record, microphone: MicrophoneSettings) -> list[TurnResult]:
    """One result for each turn that was spoken; what needs a recogniser is still to be filled in."""
    return [_turn(record, turn, microphone) for turn in record.turns]


def _turn(record: Record, turn: TurnRecord, microphone: MicrophoneSettings) -> TurnResult:
    result = TurnResult(turn.speech.text, trouble=list(turn.trouble))
    spoken = [entry for entry in turn.interjected if entry.spoken is not None]
    result.late = len(turn.interjected) - len(spoken)
    asked = [turn.speech, *(entry.spoken for entry in spoken if entry.spoken and entry.plan.kind == "interruption")]
    for number, speech in enumerate(asked):
        until = asked[number + 1].onset if number + 1 < len(asked) else turn.over
        answer = _response_ms(record, speech, until)
        if answer is not None:
            result.response_ms.append(answer)
        elif speech is asked[-1]:
            result.unanswered = True
    result.cut_off = any(turn.speech.onset <= commit.at < turn.speech.end for commit in record.commits)
    cuts = [cut for cut in record.cuts if turn.begin <= cut.at < turn.over]
    _judge_interruptions(record, turn, spoken, cuts, result)
    _judge_distractions(record, turn, spoken, cuts, microphone, result)
    for cut in cuts:
        if cut.item_id in record.heard_texts:
            played = record.received(cut.item_id)[: cut.played_ms * RATE // 1000]
            result.heard.append((record.agent_texts.get(cut.item_id, ""), record.heard_texts[cut.item_id], played))
    _compare_words(record, turn, asked, result)
    items = dict.fromkeys(arrival.item_id for arrival in record.arrivals if turn.begin <= arrival.at < turn.over)
    result.agent_text = " ".join(record.agent_texts.get(item_id, "").strip() for item_id in items)
    return result


def _response_ms(record: Record, speech: SpeechSpan, until: int) -> int | None:
    """The first response created after this speech, if it became audible before the next."""
    for arrival in record.arrivals:
        response = record.responses.get(arrival.response_id)
        answers = response is not None and response.created >= speech.end
        if answers and speech.end <= arrival.at < until and first_audible(arrival.pcm) is not None:
            return to_ms(arrival.at - speech.end)
    return None


def _judge_interruptions(
    record: Record, turn: TurnRecord, spoken: list[Interjected], cuts: list[CutRecord], result: TurnResult
) -> None:
    for entry in spoken:
        speech = entry.spoken
        if speech is None or entry.plan.kind != "interruption":
            continue
        result.interruptions += 1
        cut = next((cut for cut in cuts if speech.onset <= cut.at < speech.end + LATE), None)
        last = record.track.last_audible(speech.onset, speech.end if cut is None else cut.at + FRAME)
        if cut is None and last is not None:
            result.missed += 1
        elif entry.over_agent:
            result.silence_ms.append(0 if last is None else to_ms(last - speech.onset))


def _judge_distractions(
    record: Record,
    turn: TurnRecord,
    spoken: list[Interjected],
    cuts: list[CutRecord],
    microphone: MicrophoneSettings,
    result: TurnResult,
) -> None:
    """A stop is laid to the interjection before it, else to the noise or the echo, else to nothing; false all the
    same."""
    onsets = [(entry.spoken.onset, entry.plan.kind) for entry in spoken if entry.spoken is not None]
    stopped: set[int] = set()
    for at in [cut.at for cut in cuts] + _taken_back(record, turn):
        before = [number for number, (onset, _) in enumerate(onsets) if onset <= at]
        cause = before[-1] if before else -1
        if cause < 0 or onsets[cause][1] != "interruption":
            stopped.add(cause)
    around = microphone.noise is not None or microphone.echo is not None
    talked = record.track.last_audible(turn.speech.end, turn.over) is not None
    result.distractions = sum(kind != "interruption" for _, kind in onsets)
    result.distractions += -1 in stopped or (around and talked)
    result.false = len(stopped)
    distracted = {
        arrival.item_id
        for arrival in record.arrivals
        if turn.begin <= arrival.at < turn.over and (around or _distracted(record, arrival, spoken))
    }
    for item_id in distracted - {cut.item_id for cut in record.cuts}:
        result.resumed.append(_whole(record, item_id))


def _taken_back(record: Record, turn: TurnRecord) -> list[int]:
    """When the replies to the whole turn were cancelled that had not become audible."""
    cut = {arrival.response_id for arrival in record.arrivals for cut in record.cuts if cut.item_id == arrival.item_id}
    return [
        response.done
        for response in record.responses.values()
        if response.done is not None
        and response.status == "cancelled"
        and response.response_id not in cut
        and turn.speech.end <= response.created < turn.over
    ]


def _distracted(record: Record, arrival: Arrival, spoken: list[Interjected]) -> bool:
    """Whether it belongs to a reply that was being sent when something came in between that is no interruption."""
    response = record.responses.get(arrival.response_id)
    return response is not None and any(
        entry.over_agent
        and entry.spoken is not None
        and entry.plan.kind != "interruption"
        and response.created <= entry.spoken.onset
        for entry in spoken
    )


def _whole(record: Record, item_id: str) -> bool:
    """Whether the reply was not stopped and its audio was played just as it was received, and no stretch of it was
    received twice."""
    arrivals = [arrival for arrival in record.arrivals if arrival.item_id == item_id]
    response = record.responses.get(arrivals[0].response_id)
    if response is None or response.status not in ENDED:
        return False
    received = record.received(item_id)
    return contains(record.track.played(), received) and not repeats(received, [len(entry.pcm) for entry in arrivals])


def contains(whole: Pcm, part: Pcm) -> bool:
    """Whether all samples of `part` follow one another in `whole`."""
    haystack, needle = whole.tobytes(), part.tobytes()
    at = haystack.find(needle)
    while at % 2 == 1:  # half a sample off; also -1
        if at < 0:
            return False
        at = haystack.find(needle, at + 1)
    return True


def repeats(pcm: Pcm, lengths: list[int]) -> bool:
    """Whether one of the pieces, of these lengths, begins with audio that came within the second before. (A voice never
    says a thing twice alike to the sample; a clause that is made twice may be.)"""
    start = 0
    for length in lengths:
        piece = pcm[start : start + length]
        first = first_audible(piece)
        if first is not None:
            block = pcm[start + first : start + first + FRAME]
            before = pcm[max(0, start - REPEAT) : start + first]
            if len(block) == FRAME and contains(before, block):
                return True
        start += length
    return False


def _compare_words(record: Record, turn: TurnRecord, asked: list[SpeechSpan], result: TurnResult) -> None:
    said = " ".join(speech.text for speech in asked)
    committed = [commit.item_id for commit in record.commits if turn.begin <= commit.at < turn.over]
    result.user_text = " ".join(record.user_texts.get(item_id, "") for item_id in committed).strip()
    if words.words(said):
        result.word_errors, result.words = words.errors(said, result.user_text)
