"""Backchannels and commands: what the words of a voice over the agent's own ask for.

A listener's "mhm", "right" or "对的" asks the speaker to go on; "stop" or "等一下" asks for silence; other words want
an answer. Texts are compared by tokens: a word of a script with spaces, or one character of Chinese or Japanese. So one
search does for both, and a recogniser's commas, capitals, hyphens and repetitions do not matter.
"""

import unicodedata
from difflib import SequenceMatcher
from enum import Enum, auto

Tokens = tuple[str, ...]

BACKCHANNELS = """
    mm mmm mhm mmhm mmhmm mhmm hm hmm hmmm uh uhh uhuh huh aha ah ahh oh ooh eh er erm um umm ha haha hah
    yeah yea yah yep yup yes right okay ok kay alright all|right sure fine good great cool nice wow well true exactly
    absolutely definitely totally indeed correct gotcha interesting really oh|really thanks thank|you of|course
    for|sure i|see i|know i|understand got|it get|it i|got|it i|get|it go|on go|ahead makes|sense make|sense
    that|makes|sense that's|right that's|true that's|good that's|great sounds|good no|problem you're|right
    is|that|so my|god oh|my|god
    嗯 嗯哼 唔 哦 噢 喔 啊 呃 额 哎 唉 诶 欸 呵 哈 哇 对 对对 对的 对呀 对啊 是 是的 是啊 是呀 是吗 是吧 好 好的
    好啊 好呀 好吧 行 行吧 可以 没错 不错 当然 知道 知道了 我知道 我知道了 明白
    明白了 我明白 了解 了解了 懂了 我懂 我懂了 有道理
    原来如此 原来是这样 这样啊 这样子 真的 真的吗 真的啊 谢谢 继续 你说 你继续
    sí si claro vale ya ajá bueno de|acuerdo entiendo oui ouais d'accord voilà ben|oui bien|sûr je|vois
    ja jaja genau klar ach|so stimmt na|gut certo va|bene capito esatto sim tá pois|é entendi
    はい うん ええ へえ へー ほう なるほど そう そうです そうですね そうですか そうか わかりました
    네 예 응 아 그래요 맞아요 그렇군요 да ага угу так понятно хорошо ясно конечно हाँ हां जी अच्छा ठीक|है
"""
"""Phrases separated by blanks, their words by "|": what a listener says to show that they listen."""

COMMANDS = """
    stop wait no nope pause enough cancel quiet hold|on hang|on hold|it one|moment one|second one|sec just|a|moment
    just|a|second just|a|minute excuse|me sorry pardon what why shut|up be|quiet never|mind nevermind not|that don't
    actually listen hey hello next repeat again say|that|again come|again you're|wrong that's|wrong that's|not
    停 停一下 停下 停止 停住 等 等等 等一下 等一等 等会 等会儿 等下 稍等 慢着 慢点 且慢 打住 不 不是 不对 不要 不用
    不行 不是的 别 别说 别说了 别讲了 别念了 够了 行了 好了 闭嘴 安静 住口 取消
    暂停 算了 错了 你错了 不好意思 打断一下 什么
    为什么 怎么 听我说 再说一遍 重复 下一个 喂 你好
    para espera alto basta un|momento perdona perdón cómo qué arrête arrêtez attends attendez pardon non un|instant
    halt warte warten|sie moment nein entschuldigung stopp fermati aspetta scusa pare espere não
    待って ちょっと待って ストップ やめて 違う いや すみません 잠깐 잠깐만 잠깐만요 아니 아니요 그만
    стоп подожди подождите нет хватит извините रुको रुकिए नहीं
"""
"""What interrupts at once, however short, when a voice begins with it."""

UNSPACED = (("\u3040", "\u30ff"), ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"))
"""Kana and Chinese characters: scripts without spaces."""


class VoiceMeaning(Enum):
    NOTHING = auto()
    """No words: a cough, a laugh, or nothing understood yet."""
    BACKCHANNEL = auto()
    """Go on, I am listening."""
    COMMAND = auto()
    """Stop."""
    WORDS = auto()
    """Something that wants an answer."""


def tokens(text: str) -> Tokens:
    """The words of a text, and the characters of scripts without spaces, in lower case and without punctuation."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    return tuple(word for part in "".join(map(_spaced, plain)).split() if (word := part.strip("'")))


def _spaced(char: str) -> str:
    if any(first <= char <= last for first, last in UNSPACED):
        return f" {char} "
    in_word = char == "'" or unicodedata.category(char)[0] in "LNM"  # letters, digits, and the vowel signs of Hindi
    return char if in_word else " "


def phrases(listed: str) -> frozenset[Tokens]:
    return frozenset(tokens(phrase.replace("|", " ")) for phrase in listed.split())


BACKCHANNEL_PHRASES = phrases(BACKCHANNELS)
COMMAND_PHRASES = phrases(COMMANDS)
LONGEST = max(len(phrase) for phrase in BACKCHANNEL_PHRASES | COMMAND_PHRASES)


def meaning(text: str, *, cut: bool = False) -> VoiceMeaning:
    """What the words are. `cut`: the voice still goes on, so that the last word may be half a word and says nothing
    yet, unless it is the end of a command."""
    said = tokens(text)
    starts, listened = {0}, 0  # where the next phrase may begin, and how far all before is that of a listener
    for start in range(len(said)):
        if start not in starts:
            continue
        listening = _match(said, start, BACKCHANNEL_PHRASES)
        if max(_match(said, start, COMMAND_PHRASES), default=0) > max(listening, default=0):
            return VoiceMeaning.COMMAND  # the longer one counts: "no" stops, "no problem" does not
        starts.update(start + length for length in listening)
        listened = max(starts)
    if cut:
        said = said[:-1]
    if listened < len(said):
        return VoiceMeaning.WORDS
    return VoiceMeaning.BACKCHANNEL if said else VoiceMeaning.NOTHING


def _match(said: Tokens, start: int, among: frozenset[Tokens]) -> list[int]:
    """The lengths of the phrases of the list that stand there."""
    return [n for n in range(1, min(LONGEST, len(said) - start) + 1) if said[start : start + n] in among]


ECHO_TOKENS = 3
"""Fewer tokens than that say nothing about whose they are: users repeat a word of the agent's to ask about it."""
ECHO_SHARE = 0.7
"""An echo is heard badly: some of its words are recognised wrongly."""


def repeats(text: str, spoken: str) -> bool:
    """Whether the words are what the agent has just said, in its order: its own voice come back through the room.

    `spoken`: the text of the last seconds of the response.
    """
    said = tokens(text)
    if len(said) < ECHO_TOKENS:
        return False
    blocks = SequenceMatcher(None, said, tokens(spoken), autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) >= ECHO_SHARE * len(said)
