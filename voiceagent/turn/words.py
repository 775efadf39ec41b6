"""Sentence endings: does the last word of a transcript leave the sentence open? English and Chinese."""

import re
from enum import Enum

COMPLETE = frozenset({10, 11, 16})
"""Digits of a whole number that is said in groups: a telephone number (North America 10, China 11), a card (16)."""

ROW = 3
"""So many digits or letters, in more than one word, are dictation; fewer are more often a quantity or a date."""

NEAR = 24
"""Characters between a word that announces a number and the number itself: "my card number is ..."."""

_SAID = {"oh": 1, "double": 1, "triple": 2} | dict.fromkeys(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", *"零〇一二三四五六七八九幺两"), 1
)
"""Digits a word stands for; double and triple add to the digit after them."""

_TOKEN = re.compile(r"[$€£¥]?\d+(?:[.:/,]\d+)*%?|[a-z]+(?:'[a-z]+)?|[^\W_]")
_ANNOUNCED = re.compile(
    r"\b(?:number|code|zip|pin|phone|card|account|digits|extension|serial|spelled|spell)\b"
    r"|号码|电话|手机|卡号|密码|验证码|编号|账号"
)


def is_dictating(words: str) -> bool:
    """Whether the text (lower case, without its last punctuation) ends within a row of digits or spelled letters.

    A row is one of ROW signs or more; right after a word that announces a number, any. It is over when as many digits
    were said as such numbers have.
    """
    start, groups, digits, letters = len(words), 0, 0, 0
    for token in reversed(list(_TOKEN.finditer(words))):
        sign = token.group()
        said = len(sign) if sign.isdecimal() and not _is_year(sign) else _SAID.get(sign, 0)
        if said:
            digits += said
        elif len(sign) == 1 and sign.isascii():
            letters += 1
        else:
            break
        start, groups = token.start(), groups + 1
    if not digits or letters:
        return letters + digits >= ROW and groups >= ROW
    if digits in COMPLETE:
        return False
    announced = _ANNOUNCED.search(words, max(0, start - NEAR), start) is not None
    return announced or (digits >= ROW and groups > 1)


def _is_year(sign: str) -> bool:
    return len(sign) == 4 and sign[:2] in ("19", "20")


class SentenceEnding(Enum):
    """What the words so far end with. Where several apply, what the words say goes before what the punctuation says:
    recognisers put a full stop after nearly everything."""

    NOTHING = "nothing"
    """No words are known (yet)."""
    FILLER = "filler"
    """um, you know, 嗯, 那个: the speaker thinks, and wants to go on."""
    OPEN = "open"
    """A conjunction, preposition, article, subject or the like: no sentence ends there."""
    DICTATED = "dictated"
    """A number or a name said sign by sign, not complete."""
    COMMA = "comma"
    """A comma, colon, dash or dots."""
    BARE = "bare"
    """Any other word without punctuation."""
    STOP = "stop"
    """A full stop or exclamation mark, or a Chinese particle that ends statements (了, 吧)."""
    QUESTION = "question"
    """A question mark, or a Chinese question particle (吗, 呢)."""
    REPLY = "reply"
    """The whole turn is a set reply: yes, no thanks, 好的."""


def ending(text: str) -> SentenceEnding:
    """Classify the end of a transcript. The script of the last letter tells its language: speakers mix them, and many
    recognisers name none."""
    text = text.strip().replace("’", "'").lower()
    words = text.rstrip(MARKS)
    if not words:
        return SentenceEnding.NOTHING
    mark = _mark(text[len(words) :])
    chinese = "\u3400" <= words[-1] <= "\u9fff"
    if mark is SentenceEnding.QUESTION:
        # Recognisers put the mark where a question began; "what is the ...?" is not one yet.
        last = words.rpartition(" ")[2]
        if last in FILLERS:
            return SentenceEnding.FILLER
        if last in NEVER_LAST:
            return SentenceEnding.OPEN
    else:
        sign = _chinese(words) if chinese else _english(words)
        if sign is not None and not (sign is SentenceEnding.REPLY and mark is SentenceEnding.COMMA):  # "yes, ..."
            return sign
        if is_dictating(words):
            return SentenceEnding.DICTATED
    if mark is SentenceEnding.BARE:
        return PARTICLES.get(words[-1], mark)
    return mark


def _mark(marks: str) -> SentenceEnding:
    """What the punctuation after the last word says."""
    if any(mark in marks for mark in "?？"):
        return SentenceEnding.QUESTION
    if any(mark in marks for mark in ",，、:：;；…—–-") or ".." in marks or "。。" in marks:
        return SentenceEnding.COMMA
    return SentenceEnding.STOP if any(mark in marks for mark in ".。!！") else SentenceEnding.BARE


def _english(words: str) -> SentenceEnding | None:
    tokens = WORD.findall(words)
    if not tokens or not words.endswith(tokens[-1]):  # a number, or another script
        return None
    last, before = tokens[-1], tokens[-2] if len(tokens) > 1 else ""
    if " ".join(tokens) in REPLIES:
        return SentenceEnding.REPLY
    if last in FILLERS or f"{before} {last}" in FILLER_PAIRS:
        return SentenceEnding.FILLER
    if last in OPEN or (last == "so" and before not in BEFORE_SO):
        return SentenceEnding.OPEN
    if last in AUXILIARIES and before and before not in SUBJECTS:  # "my name is", but not "yes it is"
        return SentenceEnding.OPEN
    return None


def _chinese(words: str) -> SentenceEnding | None:
    if "".join(char for char in words if char.isalnum()) in ZH_REPLIES:
        return SentenceEnding.REPLY
    if words.endswith(ZH_FILLERS):
        return SentenceEnding.FILLER
    if words.endswith(ZH_OPEN) and not words.endswith(ZH_CLOSED):
        return SentenceEnding.OPEN
    return None


MARKS = " \t\n\"'()[]{}“”‘’「」『』（）《》.!?,:;…—–-。！？，、：；"
"""What may stand after the last word."""
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def listed(lines: str) -> frozenset[str]:
    """Phrases separated by commas or line breaks."""
    return frozenset(phrase.strip() for phrase in lines.replace("\n", ",").split(",") if phrase.strip())


FILLERS = listed("um, umm, uh, uhh, uhm, erm, er, hmm, mm, ah, eh")
FILLER_PAIRS = listed("i mean, you know, let me, kind of, sort of")
OPEN = listed(
    """a, an, the, my, your, our, their, its, every, these, those
    and, but, or, nor, because, cause, if, when, while, although, though, unless, until, whereas, whether, since
    of, to, for, with, from, into, onto, at, by, about, between, among, against, during, without, within, through
    toward, towards, than, as, per, via, except, including
    i, we, he, she, they, who, whose, which, gonna, wanna, gotta, very, dot
    i'm, you're, we're, they're, he's, she's, it's, that's, there's, here's, what's, who's, let's
    i'll, you'll, we'll, they'll, he'll, she'll, it'll, i've, you've, we've, they've, i'd, you'd, we'd, they'd, he'd"""
)
"""Left out are words that also end sentences: on, in, off, up, out, down, over (turn it on), that, this, his, her."""
NEVER_LAST = listed("a, an, the, my, your, our, their, its, every, or, because, than")
"""These end no question either."""
AUXILIARIES = listed(
    "is, are, was, were, am, be, been, will, would, can, could, should, may, might, must, has, have, had"
)
SUBJECTS = listed("i, you, he, she, it, we, they, that, this, these, those")
BEFORE_SO = listed("think, hope, guess, suppose, believe, say, said, says, or, even, is, do, did, quite")
REPLIES = listed(
    """yes, yeah, yep, no, nope, ok, okay, sure, right, exactly, correct, thanks, thank you, thank you very much
    yes please, no thanks, no thank you, that's all, that's it, that is all, hello, hi, bye, goodbye, of course
    never mind, stop, cancel"""
)

PARTICLES = {
    **dict.fromkeys("吗呢么", SentenceEnding.QUESTION),
    **dict.fromkeys("吧啊呀啦了嘛哦呗", SentenceEnding.STOP),
}
ZH_FILLERS = tuple(listed("嗯, 呃, 额, 唔, 那个, 就是, 就是说, 那么, 怎么说, 怎么说呢, 我看看, 让我想想"))
ZH_OPEN = tuple(
    listed(
        """因为, 由于, 但是, 可是, 不过, 然后, 所以, 而且, 并且, 或者, 还是, 还有, 以及, 如果, 要是, 虽然, 即使
        只要, 只有, 比如, 比如说, 例如, 首先, 其次, 另外, 关于, 对于, 除了, 为了
        和, 跟, 与, 及, 或, 把, 被, 在, 从, 向, 往, 给, 对, 让, 用, 到, 比, 很, 非常, 特别, 比较, 太, 更, 最
        我想, 我要, 我是, 我叫, 帮我, 请你, 名字叫, 名字是, 号码是, 电话是, 地址是, 密码是, 应该是
        他是, 她是, 它是, 这是, 那是"""
    )
)
ZH_CLOSED = tuple(
    listed(
        """正在, 现在, 存在, 实在, 内在, 不对, 很对, 都对, 没用, 有用, 使用, 不用, 好用, 费用, 信用
        收到, 听到, 看到, 找到, 没到, 不到, 感到, 想到, 得到, 迟到, 送给, 还给
        方向, 以往, 温和, 普及, 对比, 相对, 反对, 百分比"""
    )
)
"""Words that merely end like an open one."""
ZH_REPLIES = listed(
    """是, 是的, 对, 对的, 好, 好的, 好吧, 行, 可以, 可以的, 没有, 没了, 没问题, 不, 不是, 不用, 不用了, 不要
    不对, 没错, 当然, 谢谢, 谢谢你, 好的谢谢, 不用谢, 嗯好的, 就这样, 就这些, 你好, 再见, 算了, 停, 取消"""
)
