"""From a model's markup to what a voice is given."""

import html
import re

from voiceagent.tts.normalise.markup import put_back, set_aside, strip_tags
from voiceagent.tts.scripts import Break, break_of, has_speech, is_wide

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\u200b\u2060]")
_PICTURES = re.compile(
    r"(?<!\S)(?:[:;=][-o^']?[)(DPp]|[xX]D|<3|\^_*\^)(?!\w)"
    "|(?![→⇒↔⇔←➜](?!\ufe0f)(?<=[\\w)\\]][→⇒↔⇔←➜])|[→⇒↔⇔←➜](?!\ufe0f)(?<=[\\w)\\]]\\s[→⇒↔⇔←➜]))"
    "[\U0001f000-\U0001faff\U000e0000-\U000e007f\u2190-\u21ff\u2300-\u23ff\u2500-\u2bff\u20e3\ufe0e\ufe0f]"
    "|\u200d(?=[\U0001f000-\U0001faff\u2600-\u27bf])"
)
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+[\"'][^\"']*[\"'])?\)")
_URL = re.compile(
    r"(?<![\w.])<?(?:https?://(?:www\.)?|www\.)((?:[\w-]+\.)*[\w-]+)(?::\d+)?(?:[/?#][!-;=?-~]*)?>?", re.A | re.I
)
_RULE = re.compile(r"^[ \t|:=*_-]{2,}$", re.M)
_LINE_HEAD = re.compile(r"^[ \t]*(?:>[ \t]?)*(?:#{1,6}[ \t]+|[-*+•●▪–→➜][ \t]+(?:\[[ xX]\][ \t]+)?)?", re.M)
_STARS = re.compile(r"\*+")
_EMPHASIS = re.compile(r"(?<!\w)_+|_+(?!\w)|~~+|`+")
_CELL = re.compile(r"[ \t]*\|[ \t]*")
_PILED_PAUSES = re.compile(r"(?<=[,，])(?:\s*[,，])+|(?<=[.!?;:。！？；：])\s*,(?=\s|$)")
_STRAY_SPACE = re.compile(r"\s+(?=[.,;:!?…]+(?:\s|$))")
_DANGLING = re.compile(r"^(?:(?!\.[A-Za-z0-9])[\s,.;:!?，。；：！？、…|)\]}）」』】》”’])+|[\s|(\[{（「『【《“‘]+$")


def speakable(text: str) -> str:
    """What a voice should be given for a piece of a model's text: no markup, no emoji, of an address only its host.

    Returns '' when nothing speakable is left. Fenced code is the caller's to leave out: a piece of text does not
    know whether it began inside a fence.
    """
    said, kept = set_aside(_UNPRINTABLE.sub("", text))
    said = _IMAGE_OR_LINK.sub(r"\1", said)
    said = _URL.sub(_host, said)
    said = strip_tags(said)
    said = html.unescape(said)
    said = _RULE.sub("", said)
    said = _LINE_HEAD.sub("", said)
    said = _EMPHASIS.sub("", _STARS.sub(_star, said)).replace("_", " ")
    said = _PICTURES.sub(" ", said)
    said = _CELL.sub(", ", said)
    said = _PILED_PAUSES.sub("", _STRAY_SPACE.sub("", _join_lines(said)))
    said = put_back(_DANGLING.sub("", said), kept)
    return said if has_speech(said) else ""


def _host(found: re.Match[str]) -> str:
    """Marks that end the sentence are not part of its address."""
    address = found.group().rstrip(".,;:!?)'\"*_")
    return found.group(1) + found.group()[len(address) :]


def _star(found: re.Match[str]) -> str:
    """Stars are emphasis, unless they multiply: between spaces, or between figures or names. Two between figures, or
    the only two between names, are a power."""
    before = found.string[: found.start()][-1:]
    after = found.string[found.end() :][:1]
    apart = (not before or before.isspace()) and (not after or after.isspace())
    between = before.isascii() and before.isalnum() and after.isascii() and after.isalnum()
    if len(found.group()) == 2:
        figures = before.isdecimal() and (after.isdecimal() or after in "-(") and bool(after)
        power = figures or (between and found.string.count("**") == 1)
        return found.group() if power or (apart and before and after and found.string.count("**") == 1) else ""
    return found.group() if len(found.group()) == 1 and (apart or between) else ""


def _join_lines(text: str) -> str:
    """One line of speech: a line that ends without a mark gets a comma, so that list items do not run together."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    joined = ""
    for line in filter(None, lines):
        if joined and break_of(joined[-1]) is Break.NONE:
            joined += "，" if is_wide(joined[-1]) else ","
        joined += line if joined[-1:] == "，" else f" {line}"
    return joined
