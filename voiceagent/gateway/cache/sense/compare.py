"""What a short question asks, in a form that is the same however it is asked: the built-in meaning.

It knows how questions are put in English and Chinese, and some synonyms; everything else must be the same word. So it
finds fewer paraphrases than a model of meaning would, but two questions that differ in any word of weight, a number, a
negation or a direction never are the same to it.
"""

from dataclasses import dataclass

from voiceagent.gateway.cache.sense.chinese import chinese, has_chinese
from voiceagent.gateway.cache.sense.english import english
from voiceagent.gateway.cache.text import normalised

MOST_WORDS = 60
"""Comparing the order of more would take too long."""
NEGATIONS = frozenset(["not", "never", "no", "without", "none", "neither", "nor", "不", "没", "别", "未", "无", "勿"])

OPPOSITES = tuple(
    (pair.split("/")[0], pair.split("/")[1])
    for pair in """
    open/close start/end buy/sell lend/borrow switchon/switchoff on/off up/down left/right high/low hot/cold
    big/small large/small largest/smallest long/short longest/shortest heavy/light heavier/lighter old/young
    oldest/youngest old/new first/last maximum/minimum most/least more/less best/worst good/bad better/worse safe/unsafe
    healthy/unhealthy legal/illegal possible/impossible increase/decrease add/remove create/delete connect/disconnect
    install/uninstall lock/unlock enter/exit arrive/depart arrival/departure import/export upload/download send/receive
    boil/freeze boiling/freezing hire/fire win/lose love/hate push/pull give/take before/after from/to
    multiply/divide plus/minus subscribe/unsubscribe allow/forbid accept/refuse renew/cancel
    """.split()
)
"""Models of meaning hold these for alike."""


EXCLUSIVE = frozenset(
    """monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
    september october november december spring summer autumn fall winter second minute hour day week weekend month
    year decade century gram kilogram ounce pound ton meter kilometer centimeter mile inch foot yard liter gallon
    celsius fahrenheit kelvin dollar euro yuan yen north south east west northern southern eastern western red orange
    yellow green blue purple black white gray brown morning afternoon evening night breakfast lunch dinner""".split()
)
"""One of them cannot stand for another."""


@dataclass(frozen=True, slots=True)
class Sense:
    """`kind` is what is asked for ("what", "who", "many", "yes" …). `words` are those of weight in their common form,
    in the order of the text; names of directions are joined to their word ("from:london")."""

    kind: str
    words: tuple[str, ...]

    @property
    def form(self) -> tuple[str, ...]:
        """The same for all questions that may be the same."""
        return (self.kind, *sorted(self.words))

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(word for word in self.words if any(char.isdecimal() for char in word))

    @property
    def negations(self) -> int:
        return sum(word in NEGATIONS or word.startswith("without:") for word in self.words)


def sense_of(text: str) -> Sense:
    """Of a question that is too long no words are told: it is the same as no other."""
    plain = normalised(text)
    kind, words = chinese(plain) if has_chinese(plain) else english(plain)
    return Sense(kind, tuple(words) if len(words) <= MOST_WORDS else ())


def same(one: Sense, other: Sense) -> bool:
    """Whether both ask the same: the same kind of question, the same words, and nothing that changed its place around
    a third word, as who hires whom does."""
    return bool(one.words) and one.form == other.form and one.numbers == other.numbers and not swapped(one, other)


def agree(one: Sense, other: Sense) -> bool:
    """Whether nothing speaks against two questions meaning the same that a model of meaning holds to be alike. Such
    models hardly see numbers, negations, directions and what is asked for."""
    return (
        bool(one.words and other.words)
        and one.kind == other.kind
        and one.numbers == other.numbers
        and one.negations == other.negations
        and _exclusive(one) == _exclusive(other)
        and not swapped(one, other)
        and not _opposed(one, other)
    )


def swapped(one: Sense, other: Sense) -> bool:
    """Whether two words they share stand in another order, with a third one between them in both."""
    places = [_places(sense) for sense in (one, other)]
    shared = [word for word in places[0] if word in places[1]]
    here, there = places
    if one.kind == "who" and shared != sorted(shared, key=there.__getitem__):
        return True
    for first in shared:
        for second in shared:
            if here[first] < here[second] and there[first] > there[second]:
                between = {word for word in shared if here[first] < here[word] < here[second]}
                if any(there[second] < there[word] < there[first] for word in between):
                    return True
    return False


def _places(sense: Sense) -> dict[str, int]:
    """Words by their place; of a word that comes twice the later one."""
    return {word: place for place, word in enumerate(sense.words)}


def _exclusive(sense: Sense) -> frozenset[str]:
    """Directions with their words, days, units and the like."""
    words = frozenset(sense.words)
    return frozenset(word for word in words if ":" in word) | (words & EXCLUSIVE)


def _opposed(one: Sense, other: Sense) -> bool:
    """Whether one has a word and the other its opposite."""
    here, there = set(one.words), set(other.words)
    return any(
        (first in here - there and second in there - here) or (second in here - there and first in there - here)
        for first, second in OPPOSITES
    )
