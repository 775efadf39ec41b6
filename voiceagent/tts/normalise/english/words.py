"""Words with marks or figures that English reads in their own way: Roman numerals, versions, abbreviations."""

import re
import unicodedata

from voiceagent.tts.normalise.english.numbers import cardinal, digits, ordinal
from voiceagent.tts.normalise.numerals import roman
from voiceagent.tts.normalise.spans import Match, Rule, rule

_RULERS = (
    "Henry|Louis|Elizabeth|Charles|George|Edward|Richard|William|James|Mary|Catherine|Katherine|Peter|Nicholas|Alexander"
    "|Frederick|Philip|Ferdinand|Napoleon|Ramses|Ramesses|Ptolemy|Gregory|Innocent|Urban|Clement|Pius|Leo|Benedict|Paul"
    "|John|Francis|Otto|Wilhelm|Friedrich|Karl|Carlos|Felipe|Harald|Olav|Haakon|Gustav|Christian|Ivan|Mehmed|Murad|Selim"
    "|Victor|Emmanuel|Albert|Leopold|Baudouin|Margrethe|Beatrix|Juliana|Margaret|Robert|David|Constantine|Justinian"
    "|Theodosius|Darius|Xerxes|Cyrus|Amenhotep|Thutmose|Seti|Cleopatra|Isabella|Joseph|Maximilian|Rudolf|Ludwig|Sigismund"
    "|Stephen|Boniface|Celestine|Julius|Sixtus|Adrian|Martin|Eugene|Nicolas|Philippe|Henri|Umberto|Alfonso|Pedro|Jo\u00e3o|Akbar"
)
_HEADS = (
    "Chapter|Part|Volume|Vol\\.|Book|Act|Scene|Section|Article|Title|Phase|Stage|Type|Class|Level|Grade|World War|War|Super Bowl"
    "|Episode|Season|Round|Appendix|Figure|Table|Amendment|Schedule|Tier|Category|Mark|Apollo|Saturn|Vatican|Division|Group"
    "|Canto|Psalm|Symphony|Sonata|Opus|Lesson|Unit|Module|Annex|Exhibit|Page|Schengen|Basel|Model|Generation|Gen"
)


@rule(rf"\b({_RULERS})\s([IVXL]{{1,7}})(?!\w|\.\w|'(?:m|ll|ve|d)\b)", "IVX")
def _ruler(found: Match) -> str | None:
    value = roman(found[2])
    if value is None or (
        found[2] == "I"
        and re.match(r"\s(?!of\b|was\b|is\b|and\b|had\b|ruled\b|reigned\b|became\b)[a-z]", found.string[found.end() :])
    ):
        return None
    return f"{found[1]} the {ordinal(value).capitalize()}"


@rule(rf"\b({_HEADS})\s([IVXLCDM]{{1,9}})(?!\w|\.\w|'(?:m|ll|ve|d)\b)", "IVXLCDM")
def _head(found: Match) -> str | None:
    value = roman(found[2])
    after = found.string[found.end() :]
    if value is None or (
        len(found[2]) == 1
        and not found[1].endswith("War")
        and re.match(r"\s(?!of\b|in\b|and\b|is\b|was\b|to\b|covers\b|begins\b|describes\b|or\b)[a-z]", after)
    ):
        return None
    return f"{found[1]} {cardinal(value)}"


@rule(r"\b([IVX]{1,6})(st|nd|rd|th)?(?=\s(?:century|centuries|cent\.|c\.))", "IVX")
def _century(found: Match) -> str | None:
    value = roman(found[1])
    return ordinal(value) if value else None


@rule(r"(?<=[a-z] )(?<!an )(?<!the )([IVX]{2,6})(?![\w]|\.\w|\s(?:drip|bag|line|therapy|fluids?))", "IVX")
def _sequel(found: Match) -> str | None:
    """After a name: Rocky III."""
    value = roman(found[1])
    named = re.search(r"\b[A-Z][a-z]+\s$", found.string[: found.start()]) is not None
    return cardinal(value) if value and named and found[1] not in ("XX", "XXX") else None


@rule(r"[\u2160-\u2188]+", "".join(map(chr, range(0x2160, 0x2189))))
def _roman_sign(found: Match) -> str | None:
    value = roman(unicodedata.normalize("NFKC", found[0]).upper())
    return cardinal(value) if value else None


# -- software ---------------------------------------------------------------------------------------------------------

_PRODUCTS = (
    "Python|Java|Node(?:\\.js)?|Ruby|Rust|Go|PHP|Perl|Swift|Kotlin|TypeScript|JavaScript|Django|Rails|React|Vue|Angular|iOS|iPadOS"
    "|macOS|watchOS|Android|Ubuntu|Debian|Fedora|Windows|Linux|kernel|Chrome|Firefox|Safari|version|Version|ver\\.|release|Release"
    "|PyTorch|TensorFlow|CUDA|OpenSSL|Postgres|PostgreSQL|MySQL|Redis|Docker|Kubernetes|Bluetooth|USB|HTTP|HTML|TLS|OpenGL|DirectX"
    "|Unity|Blender|Llama|Qwen|Claude|Gemini|GPT|Chapter|chapter|section|Section|Fig\\.|Figure|Table"
)


@rule(rf"\b({_PRODUCTS})[ -]?(\d+(?:\.\d+)+)((?:[-+.]?(?:rc|beta|alpha|b|a|dev|post)\.?\d*)?)(?![\w])", ".")
def _product(found: Match) -> str:
    return f"{found[1]} {_version(found[2])}{_suffix(found[3])}"


@rule(
    r"(?<![\w.,])(v|ver\.?\s?)?(\d+(?:\.\d+){1,})((?:[-+.]?(?:rc|beta|alpha|b|a|dev|post)\.?\d*)?)(?![\w]|[.,]\d)", "."
)
def _dotted(found: Match) -> str | None:
    """v2.0.1; without the letter only of three parts, that are no thousands."""
    parts = found[2].split(".")
    if found[1]:
        return f"version {_version(found[2])}{_suffix(found[3])}"
    if len(parts) < 3 or (all(len(part) == 3 for part in parts[1:]) and len(parts[0]) <= 3):
        return None
    return _version(found[2]) + _suffix(found[3])


@rule(r"(?<![\w.])v(\d{1,3})(?![\w.]|\.\d)", "v")
def _short_version(found: Match) -> str:
    return f"version {cardinal(int(found[1]))}"


def _version(written: str) -> str:
    parts = (cardinal(int(part)) if part[0] != "0" or part == "0" else digits(part) for part in written.split("."))
    return " point ".join(parts)


def _suffix(written: str) -> str:
    if not written:
        return ""
    word = re.sub(r"[^a-z]", "", written)
    number = re.sub(r"\D", "", written)
    names = {"rc": "release candidate", "a": "alpha", "b": "beta"}
    return f" {names.get(word, word)}" + (f" {cardinal(int(number))}" if number else "")


@rule(r"(?<![\w.])([A-GJ])([#♯♭])(?!\w)", "#♯♭")
def _sharp(found: Match) -> str:
    return f"{found[1]} {'flat' if found[2] == '♭' else 'sharp'}"


@rule(r"(?<![\w])([A-Za-z]|Notepad|notepad)\+\+(?![\w])", "+")
def _plus_plus(found: Match) -> str:
    return f"{found[1]} plus plus"


@rule(r"(?<![\w.])(ASP)?\.NET(?![\w])", "N")
def _net(found: Match) -> str:
    return f"{found[1] + ' ' if found[1] else ''}dot net"


@rule(r"(?<![\w.])([A-Z][a-z]+)\.(js|ts|io|ai)(?![\w])", ".")
def _dot_js(found: Match) -> str:
    return f"{found[1]} {' '.join(found[2].upper())}"


# -- abbreviations ----------------------------------------------------------------------------------------------------

_SHORT = {
    "e.g.": "for example", "i.e.": "that is", "approx.": "approximately", "vs.": "versus", "vs": "versus", "w/o": "without",
    "w/": "with", "b/c": "because", "a.k.a.": "also known as", "cf.": "compare", "viz.": "namely", "resp.": "respectively",
    "incl.": "including", "excl.": "excluding", "min.": "minutes", "etc.": "et cetera", "n/a": "not applicable",
    "N/A": "not applicable", "and/or": "and or", "km/h": "kilometers per hour", "m/s": "meters per second", "c/o": "care of", "ext.": "extension", "Ext.": "extension", "tel.": "telephone",
    "Tel.": "telephone", "Eg.": "For example", "E.g.": "For example", "I.e.": "That is", "eg.": "for example",
}  # fmt: skip
_ABBREVIATION = "|".join(re.escape(short) for short in sorted(_SHORT, key=len, reverse=True) if short != "min.")


@rule(rf"(?<![\w.])({_ABBREVIATION})(?![\w/])", "./s")
def _short(found: Match) -> str | None:
    short = found[1]
    words = _SHORT[short]
    if short == "vs" or not short.endswith("."):
        return words
    ends = not found.string[found.end() :].strip() and short in ("etc.", "incl.", "approx.")
    return f"{words}." if ends else words


@rule(r"(?<=[A-Za-z])\s?&\s?(?=[A-Za-z])|\s&\s", "&")
def _and(found: Match) -> str:
    return " and "


@rule(r"(?<![\w/])([A-Za-z][a-z]+)/([A-Za-z][a-z]+)(?![\w/])", "/")
def _or(found: Match) -> str:
    return f"{found[1]} or {found[2]}"


ROMAN: list[Rule] = [_ruler, _head, _century, _sequel, _roman_sign]
SOFTWARE: list[Rule] = [_sharp, _plus_plus, _net, _dot_js]
VERSIONS: list[Rule] = [_product, _dotted, _short_version]
ABBREVIATIONS: list[Rule] = [_short, _and, _or]
