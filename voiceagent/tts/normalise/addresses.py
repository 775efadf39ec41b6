"""E-mail addresses, hosts, files and handles, read part by part."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from voiceagent.tts.normalise.spans import Match, Rule

_TLDS = (
    "com|org|net|edu|gov|mil|int|io|ai|dev|app|co|uk|de|fr|it|es|nl|eu|us|ca|au|nz|jp|cn|tw|hk|sg|in|kr|ru|br|mx|ch|at"
    "|be|se|no|dk|fi|pl|pt|ie|info|biz|me|tv|cc|xyz|tech|online|site|shop|cloud|club|top|test|local|example|moe|fm|gg|ly"
)
_FILES = (
    "py|js|ts|jsx|tsx|json|toml|yaml|yml|md|txt|pdf|csv|tsv|xml|html|css|sh|bat|exe|zip|tar|gz|docx?|xlsx?|pptx?|png|jpe?g"
    "|gif|svg|mp3|mp4|wav|c|h|cpp|hpp|cs|go|rs|rb|java|kt|swift|sql|ini|cfg|conf|log|env|lock|ipynb|onnx|gguf"
)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_END = r"(?![A-Za-z0-9@]|\.[A-Za-z0-9])"
_START = r"(?<![A-Za-z0-9@._/-])"

EMAIL = rf"{_START}(?:mailto:)?([A-Za-z0-9](?:[A-Za-z0-9._%+-]*[A-Za-z0-9_])?)@((?:{_LABEL}\.)+[A-Za-z]{{2,}})"
HOST = (
    rf"{_START}(?:https?://|wss?://|ftp://)?(?:www\.)?((?:{_LABEL}\.)+(?:{_TLDS}))(?::(\d{{1,5}}))?"
    rf"(?:/[^\s\u3000-\u9fff，。；]*[A-Za-z0-9/])?{_END}"
)
IP = rf"{_START}(\d{{1,3}}(?:\.\d{{1,3}}){{3}})(?:(/\d{{1,2}})|:(\d{{1,5}}))?{_END}"
LOCALHOST = rf"{_START}(localhost):(\d{{1,5}})(?:/\S*)?(?![A-Za-z0-9])"
FILE = rf"{_START}([A-Za-z0-9_][A-Za-z0-9_.-]*)\.({_FILES}){_END}"
PATH = r"(?<![A-Za-z0-9/<:.])~?(?:/[A-Za-z0-9_.-]*[A-Za-z0-9_-]){2,}/?(?![A-Za-z0-9])"
HANDLE = r"(?<![A-Za-z0-9@.])@([A-Za-z_\u3400-\u9fff][A-Za-z0-9_\u3400-\u9fff]*)"
TAG = r"(?<![A-Za-z0-9&#])#(?![A-Z]{1,3}-?\d{2})((?:\d+[A-Za-z]{3}|[A-Za-z_\u3400-\u9fff])[A-Za-z0-9_\u3400-\u9fff]*)#?"
COLOUR = r"(?<![A-Za-z0-9&#])#(?=[0-9A-Fa-f]*\d)([0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})(?![A-Za-z0-9])"
SNAKE = r"(?<![A-Za-z0-9_@.])_*[A-Za-z][A-Za-z0-9]*(?:_+[A-Za-z0-9]+)+_*(?![A-Za-z0-9])"


@dataclass(frozen=True, slots=True)
class AddressWords:
    """How a language says the marks inside addresses. `digits` reads figures one by one."""

    marks: dict[str, str]
    digits: Callable[[str], str]
    at: str
    dot: str
    port: str
    handle: str
    tag: str
    gap: str = " "


_PARTS = re.compile(r"[A-Za-z]+|\d+|[\u3400-\u9fff]+|.")


def _labels(written: str, words: AddressWords) -> Iterator[str]:
    for part in _PARTS.findall(written):
        if part.isdecimal():
            yield words.digits(part)
        elif part[0].isalpha():
            yield part
        elif mark := words.marks.get(part, ""):
            yield mark


def spelled(written: str, words: AddressWords) -> str:
    """An address's part, mark by mark."""
    return words.gap.join(_labels(written, words))


def host(written: str, words: AddressWords) -> str:
    """Its last label is spelled where it is a country's."""
    *labels, last = written.split(".")
    said = [spelled(label, words) for label in labels]
    said.append(" ".join(last.upper()) if len(last) == 2 and last.lower() not in ("co", "me", "us") else last)
    return f" {words.dot} ".join(said)


def address_rules(words: AddressWords) -> list[Rule]:
    """The rules for all kinds of addresses in one language."""

    def email(found: Match) -> str:
        return f"{spelled(found[1], words)} {words.at} {host(found[2], words)}"

    def web(found: Match) -> str:
        return host(found[1], words) + _port(found[2])

    def ip(found: Match) -> str:
        said = f" {words.dot} ".join(words.digits(part) for part in found[1].split("."))
        mask = f" {words.marks.get('/', '')} {words.digits(found[2][1:])}" if found[2] else ""
        return said + mask + _port(found[3])

    def local(found: Match) -> str:
        return found[1] + _port(found[2])

    def _port(number: str | None) -> str:
        return f" {words.port} {words.digits(number)}" if number else ""

    def file(found: Match) -> str:
        ending = " ".join(found[2].upper()) if len(found[2]) <= 2 else spelled(found[2], words)
        return f"{spelled(found[1], words)} {words.dot} {ending}"

    return [
        Rule(re.compile(EMAIL), email, "@"),
        Rule(re.compile(IP), ip, "."),
        Rule(re.compile(HOST, re.I), web, "."),
        Rule(re.compile(LOCALHOST, re.I), local, ":"),
        Rule(re.compile(FILE), file, "."),
        Rule(re.compile(PATH), lambda found: spelled(found[0], words), "/"),
        Rule(re.compile(COLOUR), lambda found: " ".join(_labels(" ".join(found[1].upper()), words)), "#"),
        Rule(re.compile(TAG), lambda found: f"{words.tag} {spelled(found[1], words)}".strip(), "#"),
        Rule(re.compile(HANDLE), lambda found: f"{words.handle} {spelled(found[1], words)}".strip(), "@"),
        Rule(re.compile(SNAKE), lambda found: spelled(found[0].replace("_", " "), words), "_"),
    ]
