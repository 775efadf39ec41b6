"""How a piece of transcript ends: does the last word leave the sentence open? English and Chinese."""

import re
from enum import Enum

from voiceagent.turn.dictation import is_dictating


class Ending(Enum):
    """What the words so far end with, the strongest sign first where several apply."""

    NOTHING = "nothing"
    """No words are known (yet)."""
    FILLER = "filler"
    """um, uh, 嗯, 呃, 那个: the speaker keeps the floor while thinking."""
    OPEN = "open"
    """A conjunction, preposition, article, subject or the like: the sentence cannot end there."""
    DICTATED = "dictated"
    """A number or a spelled name that is not complete."""
    COMMA = "comma"
    """A comma, colon, dash or dots."""
    BARE = "bare"
    """A word without punctuation, which may or may not end a sentence."""
    STOP = "stop"
    """A full stop or exclamation mark, or a Chinese particle that ends statements."""
    QUESTION = "question"
    """A question mark, or a Chinese question particle."""
    REPLY = "reply"
    """The whole turn is a set reply, such as yes, no thanks, 好的."""


def ending(text: str) -> Ending:
    """Classify the end of a transcript. The language is told by the script of its last letter, word by word, since
    speakers of both mix them and recognisers name none."""
    text = text.strip().replace("’", "'").lower()
    words = text.rstrip(_CLOSING)
    if not words:
        return Ending.NOTHING
    mark = _mark(text[len(words) :])
    if mark is not Ending.QUESTION:
        chinese = "\u3400" <= words[-1] <= "\u9fff"
        if sign := _chinese(words) if chinese else _english(words):
            return sign
        if is_dictating(words):
            return Ending.DICTATED
    if mark is Ending.BARE:
        return _PARTICLES.get(words[-1], Ending.BARE)
    return mark


def _mark(marks: str) -> Ending:
    """What the punctuation after the last word says."""
    if any(mark in marks for mark in "?？"):
        return Ending.QUESTION
    if any(mark in marks for mark in "…—–-,，、:：;；") or ".." in marks or "。。" in marks:
        return Ending.COMMA
    return Ending.STOP if any(mark in marks for mark in ".!。！") else Ending.BARE


def _english(words: str) -> Ending | None:
    tokens = _WORD.findall(words)
    if not tokens or not words.endswith(tokens[-1]):  # a number
        return None
    if " ".join(tokens) in _REPLIES:
        return Ending.REPLY
    last, before = tokens[-1], tokens[-2] if len(tokens) > 1 else ""
    if last in _FILLERS or (before, last) in _FILLER_PAIRS:
        return Ending.FILLER
    if last in _OPEN or (last == "so" and before not in _SO_ENDS):
        return Ending.OPEN
    if last in _AUXILIARIES and before and before not in _SUBJECTS:  # "my name is", but not "yes it is"
        return Ending.OPEN
    return None


def _chinese(words: str) -> Ending | None:
    if "".join(char for char in words if char.isalnum()) in _ZH_REPLIES:
        return Ending.REPLY
    if words.endswith(_ZH_FILLERS):
        return Ending.FILLER
    if words.endswith(_ZH_OPEN) and not words.endswith(_ZH_CLOSED):
        return Ending.OPEN
    return None


_CLOSING = " \t\n\"')]}”’」』）》.!?,:;…—–-。！？，、：；"
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")

_FILLERS = frozenset("um umm uh uhh uhm erm er hmm mm ah eh".split())
_FILLER_PAIRS = frozenset({("i", "mean"), ("you", "know"), ("let", "me"), ("kind", "of"), ("sort", "of")})

_OPEN = frozenset(
    """a an the my your our their its every these those
    and but or nor because if when while although though unless until whereas whether since cause
    of to for with from into onto at by about between among against during without within through toward towards than as
    per via except including
    i we he she they who whose which
    i'm you're we're they're he's she's it's that's there's here's what's who's i'll you'll we'll they'll he'll she'll
    it'll i've you've we've they've i'd you'd we'd they'd he'd she'd let's gonna wanna gotta
    very dot""".split()
)
"""Left out are words that also end sentences: on, in, off, up, out, down, over (turn it on), that, this, his, her."""

_AUXILIARIES = frozenset("is are was were am be been will would can could should may might must has have had".split())
_SUBJECTS = frozenset("i you he she it we they that this these those".split())
_SO_ENDS = frozenset("think hope guess suppose believe say said says or even is do did quite".split())

_REPLIES = frozenset(
    """yes|yeah|yep|no|nope|ok|okay|sure|right|exactly|correct|thanks|thank you|thank you very much|yes please|no thanks
    |no thank you|that's all|that's it|that is all|hello|hi|bye|goodbye|of course|never mind|stop|cancel""".replace(
        "\n    ", ""
    ).split("|")
)

_PARTICLES = {
    **dict.fromkeys("吗呢么", Ending.QUESTION),
    **dict.fromkeys("吧啊呀啦了嘛哦呗", Ending.STOP),
}
_ZH_FILLERS: tuple[str, ...] = ("嗯", "呃", "额", "唔", "那个", "就是", "就是说", "那么", "怎么说呢", "怎么说")
_ZH_OPEN = (
    *("因为", "但是", "然后", "所以", "而且", "或者", "还有", "如果", "虽然", "不过", "可是", "以及", "并且", "要是", "比如"),
    *("比如说", "例如", "关于", "对于", "除了", "为了", "首先", "其次", "另外", "还是", "只要", "只有", "即使", "由于"),
    *("和", "跟", "与", "及", "或", "把", "被", "在", "从", "向", "往", "给", "对", "让", "用", "到", "比"),
    *("很", "非常", "特别", "比较", "太", "更", "最", "我想", "我要", "我是", "我叫", "名字叫", "名字是", "帮我", "请你"),
    *("他是", "她是", "它是", "这是", "那是", "号码是", "电话是", "地址是", "应该是"),
)
_ZH_CLOSED = ("正在", "现在", "存在", "实在", "不对", "很对", "都对", "没用", "有用", "使用", "不用", "好用", "收到", "听到")
"""Words that merely end like an open one."""
_ZH_CLOSED += ("看到", "找到", "没到", "不到", "感到", "送给", "还给", "方向", "以往", "可以", "温和", "普及", "对比", "相对")
_ZH_REPLIES = frozenset(
    "是 是的 对 对的 好 好的 好吧 行 可以 可以的 没有 没了 没问题 不 不是 不用 不用了 不要 不对 谢谢 谢谢你 再见 你好 当然".split()
    + "就这样 就这些 没错 嗯好的 好的谢谢 不用谢 算了 停 取消".split()
)
