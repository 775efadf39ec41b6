"""The table of what is written and how it is to be said, of `normalise_en.txt` and `normalise_zh.txt`."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from voiceagent.tts.clauses import ClauseSplitter
from voiceagent.tts.normalise import normalise

LANGUAGES = ("en", "zh")
LINE_BREAK = "⏎"
_HEADING = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True, slots=True)
class Case:
    """`right` matches, as a whole, the plain form of what may be said."""

    language: str
    kind: str
    written: str
    right: re.Pattern[str]

    def accepts(self, said: str) -> bool:
        return self.right.fullmatch(plain(said, self.language)) is not None


def cases(language: str) -> list[Case]:
    """The table's rows of a language, in their order."""
    found: list[Case] = []
    kind = ""
    for line in Path(__file__).with_name(f"normalise_{language}.txt").read_text("utf-8").splitlines():
        if heading := _HEADING.fullmatch(line):
            kind = heading[1]
        elif " => " in line and not line.startswith("# "):
            written, _, right = line.rpartition(" => ")
            right = " ".join(word for word in right.split(" ") if word != "and")
            found.append(Case(language, kind, written.replace(LINE_BREAK, "\n"), re.compile(right)))
    return found


def plain(said: str, language: str) -> str:
    """What is left when case, marks and, in English, "and" make no difference; Chinese without spaces."""
    words = re.sub(r"['’]", "", unicodedata.normalize("NFKC", said).lower())
    words = re.sub(r"[^\w\s]|_", " ", words)
    if language == "zh":
        return "".join(words.split())
    return " ".join(word for word in words.split() if word != "and")


def clauses(written: str) -> list[str]:
    """The text as a session hands it to a voice: in clauses without markup."""
    splitter = ClauseSplitter()
    return [clause.spoken for clause in [*splitter.push(written), *splitter.flush()] if clause.spoken]


def said(written: str, language: str | None) -> str:
    """The whole way: clauses, each normalised with what was said before it."""
    spoken: list[str] = []
    before = ""
    for clause in clauses(written):
        spoken.append(normalise(clause, language, before).text)
        before = clause
    return " ".join(spoken)
