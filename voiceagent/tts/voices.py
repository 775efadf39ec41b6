"""Names of voices: which are asked for only by habit, and which speaks a language."""

import re

FOREIGN = frozenset(
    ["alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"]
)
"""OpenAI's names. Its clients send one of them by default, so an engine that has no such voice speaks with its own."""


def requested(voice: str | None) -> str | None:
    """The voice a request means; None for the engine's own."""
    return None if voice is None or voice.lower() in FOREIGN else voice


_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff\uff66-\uff9d]"), ("ja",)),
    ("ko", re.compile(r"[\uac00-\ud7ff]"), ("ko",)),
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"), ("zh", "yue", "ja", "wuu")),
    ("ru", re.compile(r"[\u0400-\u04ff]"), ("ru", "uk", "bg", "sr", "mk", "kk", "mn")),
    ("ar", re.compile(r"[\u0600-\u06ff]"), ("ar", "fa", "ur", "ps")),
    ("hi", re.compile(r"[\u0900-\u097f]"), ("hi", "mr", "ne")),
    ("he", re.compile(r"[\u0590-\u05ff]"), ("he",)),
    ("th", re.compile(r"[\u0e00-\u0e7f]"), ("th",)),
    ("el", re.compile(r"[\u0370-\u03ff]"), ("el",)),
)


def language_of(text: str, hint: str | None) -> str | None:
    """The language to speak a text in: the hint, unless the text is in another language's script; then ISO 639-1.

    None when neither tells: the text is in Latin letters and nothing was said of its language.
    """
    for language, script, also in _SCRIPTS:
        if script.search(text):
            fits = hint is not None and hint.replace("_", "-").split("-")[0].lower() in also
            return hint if fits else language
    return hint
