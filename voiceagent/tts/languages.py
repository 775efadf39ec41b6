"""Names of languages: which tags are none, and what to tell a model of a voice that speaks only some."""

import re
from collections.abc import Collection

_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{1,8})*")
_TWO_LETTERS = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee "
    "el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is "
    "it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms "
    "mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk "
    "sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi "
    "yo za zh zu".split()
)
"""ISO 639-1. There are thousands of three letters, which are taken on trust."""

FEW = 3
"""More languages than these are not listed to a model."""

NAMES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "hi": "Hindi", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ru": "Russian",
    "sv": "Swedish",    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "yue": "Cantonese", "zh": "Chinese",
}  # fmt: skip


def is_language(tag: str) -> bool:
    """Whether this may be a language's tag (BCP 47): "en", "zh-CN", "yue"; "english" and "xx" are none."""
    found = _TAG.fullmatch(tag)
    return found is not None and (len(found[1]) == 3 or found[1].lower() in _TWO_LETTERS)


def only_in(instructions: str, languages: Collection[str]) -> str:
    """The instructions for a voice that speaks only these languages. Of many, or of none known, nothing is told."""
    if not 0 < len(languages) <= FEW:
        return instructions
    names = " or ".join(NAMES.get(one, one) for one in sorted(languages))
    return f"{instructions} Your voice can only speak {names}: always answer in {names}."
