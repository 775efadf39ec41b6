"""Emotion of a sentence, which a device shows as a face: a small rule, in English and Chinese."""

import re
from collections.abc import Mapping
from typing import Literal, get_args

Emotion = Literal[
    "neutral",
    "happy",
    "laughing",
    "funny",
    "sad",
    "angry",
    "crying",
    "loving",
    "embarrassed",
    "surprised",
    "shocked",
    "thinking",
    "winking",
    "cool",
    "relaxed",
    "delicious",
    "kissy",
    "confident",
    "sleepy",
    "silly",
    "confused",
]
"""All that the firmware has pictures for."""
EMOTIONS: tuple[Emotion, ...] = get_args(Emotion)

PICTURES: Mapping[Emotion, str] = {
    "happy": "🙂😊😀😃😄😁☺🎉👍✨",
    "laughing": "😆😂🤣😹",
    "funny": "😅🤡",
    "sad": "😔😢☹🙁😞😟💔",
    "angry": "😠😡🤬👿",
    "crying": "😭😿",
    "loving": "😍🥰❤💕💖😻🤗",
    "embarrassed": "😳🙈😬",
    "surprised": "😲😮😯",
    "shocked": "😱🤯😨",
    "thinking": "🤔💭🧐",
    "winking": "😉",
    "cool": "😎🆒",
    "relaxed": "😌🧘☕",
    "delicious": "🤤😋🍰🍜",
    "kissy": "😘😗😚💋",
    "confident": "😏💪🏆",
    "sleepy": "😴😪🥱💤🌙",
    "silly": "😜🤪😝",
    "confused": "🙄😕😵🤷",
}
_OF_PICTURE: Mapping[str, Emotion] = {
    picture: emotion for emotion, pictures in PICTURES.items() for picture in pictures
}

_WORDS: tuple[tuple[Emotion, str], ...] = (
    ("laughing", r"\b(ha(ha)+|hilarious|lol)\b|哈哈|笑死"),
    ("funny", r"\b(joke|funny|riddle)\b|笑话|好笑|搞笑|谜语"),
    ("embarrassed", r"\b(my mistake|embarrass\w*|oops)\b|不好意思|尴尬|我弄错了"),
    ("sad", r"\b(sorry|unfortunately|sad(ly)?|regret)\b|抱歉|对不起|遗憾|难过|可惜"),
    ("surprised", r"\b(wow|amazing|incredible|surpris\w+)\b|哇|真没想到|惊讶|不可思议"),
    ("loving", r"\b(love you|adore|sweetheart)\b|爱你|喜欢你|宝贝"),
    ("delicious", r"\b(delicious|tasty|yummy|recipe)\b|好吃|美味|菜谱"),
    ("sleepy", r"\b(good ?night|sleep well|sweet dreams)\b|晚安|好梦"),
    ("confused", r"\b(not sure|don't understand|didn't catch|don't know|unclear)\b|没听清|不明白|不太懂|不确定|不知道"),
    ("thinking", r"\b(let me (see|think|check)|hmm+|one moment)\b|让我想想|我想想|我查一下|稍等|嗯+…"),
    ("relaxed", r"\b(take it easy|relax|calm|no worries)\b|放松|别着急|没关系|慢慢来"),
    ("confident", r"\b(of course|certainly|definitely|no problem)\b|当然|没问题|一定|肯定"),
    ("happy", r"\b(hello|hi|great|glad|happy|welcome|congratulations|thanks?)\b|你好|太好了|高兴|开心|欢迎|恭喜|谢谢"),
)
_PATTERNS = tuple((emotion, re.compile(words, re.IGNORECASE)) for emotion, words in _WORDS)


def emotion_of(text: str) -> Emotion:
    """The first emoji that has a face decides, else the first rule whose words occur, else "neutral"."""
    for char in text:
        if char in _OF_PICTURE:
            return _OF_PICTURE[char]
    for emotion, pattern in _PATTERNS:
        if pattern.search(text):
            return emotion
    return "neutral"
