"""Markup in angle brackets, and what must come through the cleaning of other markup untouched."""

import re

from voiceagent.tts.normalise.addresses import EMAIL
from voiceagent.tts.normalise.latex import FORMULA

_KNOWN = (
    "a|abbr|amazon|article|aside|audio|b|big|blockquote|body|br|break|button|caption|center|cite|code|dd|del|desc|details|div|dl|dt"
    "|effect|em|emphasis|figure|font|footer|h[1-6]|head|header|hr|html|i|img|input|ins|kbd|label|lang|lexicon|li|link|main|mark|media"
    "|meta|metadata|mstts|nav|ol|p|par|paragraph|phoneme|pre|prosody|q|s|samp|say-as|section|seq|sentence|small|span|speak|strike"
    "|strong|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|time|token|tr|tt|u|ul|var|video|voice|w|wbr"
)
_ATTRIBUTE = r"\s+[A-Za-z_:][\w:.-]*\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+)"
_HIDDEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<!\[CDATA\[|\]\]>|<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)|<\?[^<>]*\?>|<!DOCTYPE[^<>]*>",
    re.S | re.I,
)
_TAG = re.compile(
    rf"</[A-Za-z][\w:.-]*\s*>"  # any closing tag
    rf"|<[A-Za-z][\w:.-]*(?:{_ATTRIBUTE})*\s*/>"  # any empty one
    rf"|<[A-Za-z][\w:.-]*(?:{_ATTRIBUTE})+\s*>"  # any with attributes
    rf"|<(?:{_KNOWN})(?::[\w-]+)?(?:\s+(?:checked|disabled|open|hidden|required|controls|defer|async))?\s*>",
    re.I,
)
_PAIR = re.compile(r"<([A-Za-z][\w:.-]*)\s*>(?=.*?</\1\s*>)", re.S)
_GROWING = re.compile(
    rf"<[/!?]?[A-Za-z][\w:.-]*(?:{_ATTRIBUTE})*(?:\s+[\w:.-]*(?:\s*=\s*(?:\"[^\"]*|'[^']*|[^\s\"'<>]*)?)?)?\s*/?|<!--.*",
    re.S,
)
_KEPT = re.compile(rf"{FORMULA.pattern}|{EMAIL}|(?<![\w@])@[A-Za-z0-9]\w*_\w*|(?<![\w#])#[A-Za-z]\w*_\w*", re.S | re.A)
_SLOTS = 0xE000
_MOST_SLOTS = 1000
_SLOT = re.compile("[\ue000-\ue3e7]")


def strip_tags(text: str) -> str:
    """Without the tags of HTML, SSML and any XML; "a <b and c> d" has none. A tag leaves a space."""
    if "<" not in text:
        return text
    text = _HIDDEN.sub(" ", text)
    text = _PAIR.sub(" ", text)
    return _TAG.sub(" ", text)


def may_be_tag(text: str) -> bool:
    """Whether a text that begins with "<" and has no ">" yet may become a tag."""
    return _GROWING.fullmatch(text) is not None


def set_aside(text: str) -> tuple[str, list[str]]:
    """The text with formulas and addresses replaced by one character each, and what they were: their marks are none of
    Markdown's."""
    kept: list[str] = []

    def put(found: re.Match[str]) -> str:
        if len(kept) >= _MOST_SLOTS:
            return found.group()
        kept.append(found.group())
        return chr(_SLOTS + len(kept) - 1)

    text = _SLOT.sub("", text)
    return (_KEPT.sub(put, text) if any(mark in text for mark in "$\\@#") else text), kept


def put_back(text: str, kept: list[str]) -> str:
    return _SLOT.sub(lambda found: kept[ord(found.group()) - _SLOTS], text) if kept else text
