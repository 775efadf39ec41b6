"""Spoken text: what of a response was heard, to the word, from how much of its audio was played."""

import re
from dataclasses import dataclass, field

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.voiced import VoicedTime
from voiceagent.tts.base import WordTiming

# A word with the space after it; in scripts written without spaces every character is one.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|\s+"
)

SECONDS_PER_CHAR = 0.042
"""Pace of Latin script assumed while a clause is still being synthesised, with WORD_CHARS: three words a second."""
WORD_CHARS = 4
"""A word lasts as long as its letters and so many more: short words are spoken more slowly than their letters tell."""
SPELLED_CHARS = 4
"""Letters of a digit or a sign, which is spoken as a word of its own."""
SIGNS = "#%&+=@$€£¥"
"""What is spoken though it is neither a letter nor a digit."""
HEARD_SHARE = 0.4
"""A word of which so much was played counts as heard: what the recogniser counts (benchmarks/heard.py)."""
SECONDS_PER_IDEOGRAPH = 0.22
"""Likewise for Chinese and Japanese: 4 to 5 characters a second."""


@dataclass(slots=True)
class SpokenClause:
    """One clause of the response: its own text and where its audio lies, in seconds from the start of the response."""

    text: str
    start: float
    end: float
    complete: bool = False
    words: list[WordTiming] = field(default_factory=list)
    voiced: VoicedTime = field(default_factory=VoicedTime)


class SpokenText:
    """The response's clauses in order, with the audio made of each."""

    def __init__(self) -> None:
        self._clauses: list[SpokenClause] = []

    def begin(self, text: str) -> None:
        """A clause begins where the audio so far ends."""
        end = self._clauses[-1].end if self._clauses else 0.0
        if self._clauses:
            self._clauses[-1].complete = True
        self._clauses.append(SpokenClause(text, end, end))

    def extend(self, pcm: Pcm, rate: int, words: tuple[WordTiming, ...] = ()) -> None:
        """More audio of the current clause; `words` are timed from the clause's start."""
        clause = self._clauses[-1]
        clause.end += len(pcm) / rate
        clause.words.extend(words)
        clause.voiced.push(pcm, rate)

    def finish(self) -> None:
        """All audio of the clauses so far is there."""
        if self._clauses:
            self._clauses[-1].complete = True

    def give_up(self) -> bool:
        """No more audio of the current clause comes: what was not spoken of it is no part of the text. Returns whether
        any of it was spoken."""
        clause = self._clauses[-1]
        sounded = clause.end > clause.start
        clause.text = _heard_of(clause, clause.end - clause.start) if sounded else ""
        clause.complete = True
        return sounded

    @property
    def sounded(self) -> bool:
        """Whether there is any audio."""
        return bool(self._clauses) and self._clauses[-1].end > 0

    @property
    def text(self) -> str:
        return "".join(clause.text for clause in self._clauses)

    def heard(self, seconds: float) -> str:
        """The text whose audio lies before this position; a word counts once HEARD_SHARE of it was played."""
        if seconds == float("inf"):
            return self.text.rstrip()
        parts: list[str] = []
        for clause in self._clauses:
            if clause.complete and seconds >= clause.end:
                parts.append(clause.text)
                continue
            if seconds > clause.start:
                parts.append(_heard_of(clause, seconds - clause.start))
            break
        return "".join(parts).rstrip()


def _heard_of(clause: SpokenClause, seconds: float) -> str:
    """The beginning of one clause, of which so many seconds were played."""
    if clause.words:
        return clause.text[: _end_of_timed(clause, seconds)]
    words: list[str] = _WORD.findall(clause.text)
    weights = [_seconds_of(word) for word in words]
    expected = sum(weights)
    length, played = clause.voiced.before(clause.end - clause.start), clause.voiced.before(seconds)
    if not clause.complete:
        length = max(length, expected)
    scale = length / expected if expected else 0.0
    position, heard = 0.0, 0
    for word, weight in zip(words, weights, strict=True):
        if (position + weight * HEARD_SHARE) * scale > played:
            break
        position += weight
        heard += len(word)
    return clause.text[:heard]


def _seconds_of(word: str) -> float:
    """How long it takes to say it; marks and spaces take no time."""
    if len(word) == 1 and word > "\u3040":
        return SECONDS_PER_IDEOGRAPH if word.isalnum() else 0.0
    letters = sum(char.isalpha() + SPELLED_CHARS * (char.isdigit() or char in SIGNS) for char in word)
    return SECONDS_PER_CHAR * (letters + WORD_CHARS) if letters else 0.0


def _end_of_timed(clause: SpokenClause, seconds: float) -> int:
    """Where in the clause's text the words end that were played, marks after them included. A voice's words need not be
    ours: it times Chinese by words of several characters, and may leave out or spell out what it reads."""
    end = 0
    for timing in clause.words:
        if timing.start + HEARD_SHARE * (timing.end - timing.start) > seconds:
            break
        found = clause.text.find(timing.word, end)
        if found >= 0:
            end = found + len(timing.word)
    while 0 < end < len(clause.text) and not clause.text[end].isalnum() and not clause.text[end].isspace():
        end += 1
    return end
