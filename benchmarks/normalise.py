"""Does the voice say what is written? `python -m benchmarks.normalise [--failures] [--heard N] [--json FILE]`.

The table of `benchmarks.normalise_table` is read by voiceagent's normaliser, by none, and by the libraries that are
installed beside it (WeTextProcessing, wetext, nemo_text_processing, num2words, cn2an): how many of each kind are right,
and the time of a processor that a clause takes. They are all given the clauses without markup. Then N of the English
rows, spread over all kinds, are said by the embedded voice with and without the normaliser, and the embedded recogniser
tells what it hears; its figures are put into words as well before they are compared with what was to be said.
"""

import argparse
import asyncio
import importlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import jiwer
import numpy as np

from benchmarks.normalise_table import LANGUAGES, Case, cases, clauses, plain, said
from benchmarks.recording import converted
from voiceagent.asr.base import AsrHint
from voiceagent.asr.sherpa import SherpaAsr
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import EngineError
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsRequest
from voiceagent.tts.hibari import HibariTts
from voiceagent.tts.normalise import normalise

TARGET = 0.98
"""Share of the table's rows that are to be right."""
MOST_MS = 1.0
"""Of a processor, for a clause."""
HEARD = 96
QUIET = silence(EAR_RATE // 4)

Reader = Callable[[str], str]


class _Normaliser(Protocol):
    """As WeTextProcessing, wetext and NeMo have it."""

    def normalize(self, text: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Score:
    """Of one reader in one language."""

    reader: str
    language: str
    right: Counter[str]
    total: Counter[str]
    ms: float
    wrong: tuple[tuple[Case, str], ...]

    @property
    def share(self) -> float:
        return self.right.total() / self.total.total()


def readers(language: str) -> Iterator[tuple[str, Reader]]:
    """Ours, none, and the libraries that are there."""
    yield "voiceagent", lambda text: said(text, language)
    yield "none", lambda text: " ".join(clauses(text))
    for name, make in _LIBRARIES.items():
        with suppress(ImportError):
            if (reader := make(language)) is not None:
                yield name, _by_clauses(reader)


def _by_clauses(reader: Reader) -> Reader:
    def read(text: str) -> str:
        return " ".join(map(reader, clauses(text)))

    return read


def _wetextprocessing(language: str) -> Reader:
    name = {"en": "english", "zh": "chinese"}[language]
    return cast(_Normaliser, importlib.import_module(f"tn.{name}.normalizer").Normalizer()).normalize


def _wetext(language: str) -> Reader:
    return cast(_Normaliser, importlib.import_module("wetext").Normalizer(lang=language, operator="tn")).normalize


def _nemo(language: str) -> Reader:
    module = importlib.import_module("nemo_text_processing.text_normalization.normalize")
    return cast(_Normaliser, module.Normalizer(input_case="cased", lang=language)).normalize


def _num2words(language: str) -> Reader | None:
    if language != "en":
        return None
    in_words = importlib.import_module("num2words").num2words

    def one(found: re.Match[str]) -> str:
        return str(in_words(float(found[0]) if "." in found[0] else int(found[0])))

    def read(text: str) -> str:
        return re.sub(r"\d+(?:\.\d+)?", one, text)

    return read


def _cn2an(language: str) -> Reader | None:
    transform = importlib.import_module("cn2an").transform
    return (lambda text: str(transform(text, "an2cn"))) if language == "zh" else None


_LIBRARIES: dict[str, Callable[[str], Reader | None]] = {
    "WeTextProcessing": _wetextprocessing,
    "wetext": _wetext,
    "nemo_text_processing": _nemo,
    "num2words": _num2words,
    "cn2an": _cn2an,
}


def score(name: str, reader: Reader, language: str) -> Score:
    rows = cases(language)
    right: Counter[str] = Counter()
    wrong: list[tuple[Case, str]] = []
    began = time.process_time()
    heard = [_read(reader, row.written) for row in rows]
    ms = (time.process_time() - began) * 1000 / sum(max(1, len(clauses(row.written))) for row in rows)
    for row, words in zip(rows, heard, strict=True):
        if row.accepts(words):
            right[row.kind] += 1
        else:
            wrong.append((row, words))
    return Score(name, language, right, Counter(row.kind for row in rows), ms, tuple(wrong))


def _read(reader: Reader, text: str) -> str:
    try:
        return reader(text)
    except Exception as error:  # a library's own limit is a row that it does not read
        return f"({type(error).__name__})"


def show(scores: list[Score]) -> None:
    """A column a reader, a line a kind."""
    names = [one.reader for one in scores]
    width = max(map(len, names)) + 2
    print(f"\n{scores[0].language:12}" + "".join(f"{name:>{width}}" for name in names))
    for kind, total in scores[0].total.items():
        print(f"{kind:12}" + "".join(f"{f'{one.right[kind]}/{total}':>{width}}" for one in scores))
    print(f"{'all':12}" + "".join(f"{f'{one.share:.0%}':>{width}}" for one in scores))
    print(f"{'ms a clause':12}" + "".join(f"{one.ms:>{width}.2f}" for one in scores))


# -- heard back --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """Word error rates with and without the normaliser, a row that the voice refuses being 1; and rows without one."""

    rows: int
    with_words: float
    without: float
    whole_with: int
    whole_without: int


async def heard_back(count: int) -> Heard:
    """Rows that are said, with and without the normaliser, and heard again."""
    rows = cases("en")
    kinds = sorted({row.kind for row in rows})
    by_kind = {kind: [row for row in rows if row.kind == kind] for kind in kinds}
    chosen = [row for turn in range(len(rows)) for kind in kinds for row in by_kind[kind][turn : turn + 1]][:count]
    models = ModelStore()
    voice, ear = HibariTts(HibariTts.Options(), models), SherpaAsr(SherpaAsr.Options(), models)
    await asyncio.gather(voice.open(), ear.open())
    errors: list[tuple[float, float]] = []
    try:
        for row in chosen:
            truth = plain(said(row.written, "en"), "en")
            found = [
                await _heard(voice, ear, text) for text in (said(row.written, "en"), " ".join(clauses(row.written)))
            ]
            errors.append((_error(truth, found[0]), _error(truth, found[1])))
    finally:
        await asyncio.gather(voice.close(), ear.close())
    ours, theirs = np.array(errors).T
    return Heard(
        len(chosen), float(ours.mean()), float(theirs.mean()), int((ours == 0).sum()), int((theirs == 0).sum())
    )


def _error(truth: str, heard: str) -> float:
    """Word error rate, 1 at most."""
    return min(1.0, float(jiwer.wer(truth, heard))) if heard else 1.0


async def _heard(voice: HibariTts, ear: SherpaAsr, text: str) -> str:
    try:
        pieces: list[Pcm] = [piece.pcm async for piece in voice.speak(TtsRequest(text))]
    except EngineError:
        return ""
    if not pieces:
        return ""
    stream = ear.stream(AsrHint())
    stream.push(np.concatenate([QUIET, converted(np.concatenate(pieces), voice.sample_rate, EAR_RATE), QUIET]))
    transcript = (await stream.finish()).text
    stream.close()
    return plain(normalise(transcript, "en").text, "en")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--failures", action="store_true", help="print the rows that voiceagent reads wrong")
    parser.add_argument("--heard", type=int, default=HEARD, metavar="N", help="rows that are said and heard again")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    result: dict[str, object] = {}
    met = True
    for language in LANGUAGES:
        scores = [score(name, reader, language) for name, reader in readers(language)]
        show(scores)
        met = met and scores[0].share >= TARGET and scores[0].ms <= MOST_MS
        result[language] = {one.reader: {"right": one.share, "ms": one.ms} for one in scores}
        if options.failures:
            for case, words in scores[0].wrong:
                print(f"  {case.kind}: {case.written!r} is said {words!r}, not {case.right.pattern!r}")
    if options.heard:
        heard = asyncio.run(heard_back(options.heard))
        print(
            f"\n{heard.rows} English rows said by the embedded voice and heard again: word error rate "
            f"{heard.with_words:.0%} ({heard.whole_with} without an error), without the normaliser {heard.without:.0%} "
            f"({heard.whole_without})"
        )
        met = met and heard.with_words < heard.without
        result["heard"] = {"rows": heard.rows, "with": heard.with_words, "without": heard.without}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), "utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
