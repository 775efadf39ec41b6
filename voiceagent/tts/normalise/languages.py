"""Which language's rules a text is read by."""

import re
from typing import Literal

Rules = Literal["en", "zh"]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
_OTHER = re.compile(
    r"[\u3040-\u30ff\uff66-\uff9d\uac00-\ud7ff\u0400-\u04ff\u0590-\u06ff\u0900-\u0fff\u1000-\u109f\u1780-\u17ff]"
)
"""Scripts without rules: Japanese, Korean, Cyrillic, Hebrew, Arabic, those of India and the south-east."""
_LATIN = re.compile(r"[^\W\d_\u0370-\U0003ffff]+")
_ADDRESS = re.compile(r"[A-Za-z0-9_-]*(?:[@.:/][A-Za-z0-9_-]+)+", re.A)

_FOREIGN = frozenset(
    "der die das und ist nicht ein eine einen mit auf für von zu den dem wir ihr sie sind haben wird kostet uhr heute bis "
    "le la les un une des et est pas que qui dans pour avec sur vous nous je il elle du au aux coûte heures "
    "el los las una y es no que en para con por su se del al está cuesta son "
    "il lo gli di che non per con una sono è costa alle della nel "
    "o os as um uma e não que em para com por do da no na dos das custa "
    "de het een en van is niet dat met voor op kost naar zijn "
    "och att det som är inte på med för av den ett kostar og ikke til "
    "jest nie się na do że to w z i kosztuje bir ve bu için ile saat".split()
)
_ENGLISH = frozenset(
    "the a an and is are was were not with for of to in on at it its this that you your i my we our he she they be have "
    "has had will would can could do does did from by or if as but so there here what when how please call about costs".split()
)
_SHARED = _FOREIGN & _ENGLISH | {"no", "as", "do", "a", "i", "in", "is", "to", "on"}
_ACCENTS = re.compile("[äöüßéèêëàâáçñõãåøæœîïíìôóòûúùýłśżźćęąőűğışčřžěůď¿¡]")

_SURE = 1.5
"""Little words of other languages, accents counting half, from which on a text without a tag is not taken for English."""


def base_of(tag: str | None) -> str | None:
    """The language of a tag: "zh" for "zh-CN" and "cmn-Hans"."""
    if not tag:
        return None
    base = tag.replace("_", "-").split("-")[0].lower()
    return "zh" if base in ("cmn", "zho", "chi") else "en" if base == "eng" else base


def rules_of(text: str, language: str | None) -> Rules | None:
    """By the script first, then by the tag, then by the text's little words; English where nothing tells."""
    tag = base_of(language)
    if _OTHER.search(text):
        return None
    han = len(_HAN.findall(text))
    words = _LATIN.findall(_ADDRESS.sub(" ", text))
    if han:
        if tag in ("ja", "ko"):
            return None
        english = tag != "zh" and len(words) > han and any(word.lower() in _ENGLISH for word in words)
        return "en" if english else "zh"
    if tag == "zh":
        lower = [word for word in words if word.islower() and len(word) > 1]
        return "en" if len(lower) > 1 else "zh"
    if tag is not None and tag != "en":
        return "en" if _looks_english(words) else None
    return None if tag is None and _looks_foreign(text, words) else "en"


def _looks_english(words: list[str]) -> bool:
    """English in the middle of another language's talk: several of its little words, and none of the others'."""
    lower = [word.lower() for word in words]
    return sum(word in _ENGLISH - _SHARED for word in lower) > 1 and not any(
        word in _FOREIGN - _SHARED for word in lower
    )


def _looks_foreign(text: str, words: list[str]) -> bool:
    lower = [word.lower() for word in words if len(word) > 1]
    foreign = sum(word in _FOREIGN - _SHARED for word in lower) + len(_ACCENTS.findall(text.lower())) / 2
    return foreign >= _SURE and foreign > sum(word.lower() in _ENGLISH for word in words)
