"""Common wording of a question: the one form of all wordings that certainly ask the same.

Nothing is looked up as a synonym, left out for its little weight, or moved: two questions have one wording only if
they have the same words in the same order after polite words at the edges, contractions, numbers in words and a few
frames of whole questions have been unified. Each rule changes only what it matches as a whole; where words are spoken
of rather than used ("How do you say please?") none applies.
"""

import re
from collections.abc import Callable

from voiceagent.gateway.cache.text import FUNCTION_WORDS, HAN, normalised

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

_HAN = re.compile(f"[{HAN}]")
_MENTIONS = re.compile(
    r"\b(?:say|says|said|saying|spell|spelt|spelled|mean|means|meant|words?|phrase|translat\w*|pronounc\w*|rhymes?|synonyms?"
    r"|antonyms?|opposite|letters?|sings?|sang|sung|songs?|lyrics|called|named|title[ds]?|quot\w*)\b"
    r"|\"|说|讲|读|念|写|翻译|意思|[英中日法德俄韩]语|[英中日韩]文|词|字|叫|歌|唱|拼|[《》]"
)
_CREATES = re.compile(
    r"\b(?:writ\w*|wrote|us(?:e|es|ed|ing)|typ\w*|direct\w*|record\w*|perform\w*|album|film|movie|book|band)\b"
)
"""What may be followed by a title, as "Thank you" is one."""
_POLITE_TAIL = re.compile(r" ,? ?(?:please|thanks|thank you)$")


def common_wording(text: str) -> str:
    """Equal for questions that ask the same; differs for all others. Empty for text without words."""
    plain = normalised(text)
    if _MENTIONS.search(plain):
        return plain
    if _HAN.search(plain):
        return _applied(_CHINESE, plain)
    return _applied(_ENGLISH, _without_tail(plain))


def _applied(rules: tuple[Rule, ...], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _without_tail(text: str) -> str:
    """Without thanks at the end, unless what is left would break off ("the opposite of please")."""
    left = _POLITE_TAIL.sub("", text)
    return text if left.rpartition(" ")[2] in FUNCTION_WORDS or _CREATES.search(text) else left


def _rules(*pairs: tuple[str, str | Callable[[re.Match[str]], str]]) -> tuple[Rule, ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


# -- English -----------------------------------------------------------------------------------------------------------

_NAME = rf"(?!(?:{'|'.join(sorted(FUNCTION_WORDS))})\b)[a-z]+"
_SLOT = f"(?:the )?{_NAME}(?: {_NAME})?"
"""One or two words that are a name, with or without "the"."""
_PROPERTY = (
    "capital|population|currency|area|height|length|width|depth|weight|mass|density|diameter|radius|circumference"
    "|boiling point|melting point|freezing point|atomic number|chemical symbol"
)
"""What a thing has one of: "X's height" is "the height of X"."""
_STEPS = (
    "reset|restart|reboot|update|upgrade|change|cancel|delete|install|uninstall|reinstall|connect|disconnect|open|close"
    "|create|activate|deactivate|enable|disable|turn|switch|contact|return|download|upload|convert|calculate|make|cook|bake"
    "|boil|clean|remove|repair|replace|charge|pair|configure|renew|book|order|export|import|print|scan|save|share|edit"
)
"""What one asks the steps of: "how can I" asks no more than "how do I"."""
_ONES = {
    word: str(number) for number, word in enumerate("one two three four five six seven eight nine".split(), start=1)
}
_TENS = {
    word: str(10 * number)
    for number, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_TEENS = {
    word: str(number)
    for number, word in enumerate(
        "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(), start=10
    )
}
_NUMBERS = {"zero": "0", **_ONES, **_TEENS, **_TENS}
del _NUMBERS["one"]  # rarely a number
_BEGINS = "(?:who|what|how|where|when|which|why|can|could|is|are|do|does|did|tell|please|explain|describe)"
_WH = "(?=(?:who|what|how|where|which|why) )"
_NUMBER = r"\d+(?:\.\d+)?"
_SIGN = "times|plus|minus|percent of|divided by|[-+*/]"


def _number(found: re.Match[str]) -> str:
    tens, _, ones = found.group().partition("-")
    return _NUMBERS[tens] if not ones else _TENS[tens][0] + _ONES[ones]


_ENGLISH = _rules(
    (rf"^(?:(?:[Uu]m+|[Uu]h+|[Hh]mm+) (?:, )?)+(?={_BEGINS}\b)", ""),
    (rf"^(?:(?:hey|hi|hello|okay|ok|OK|sorry|excuse me) , )+(?={_BEGINS}\b)", ""),
    (r"^please (?=(?:tell me|explain|describe) )", ""),
    (r"^(?:can|could|would|will) you (?:please )?(?=(?:tell me|explain|describe) )", ""),
    (rf"^(?:please )?(?:tell me|i want to know|i would like to know|i'd like to know) {_WH}", ""),
    (r"^(what|who|where|how)'s (?=(?:the|a|an|your|my|our|their|his|her) )", r"\1 is "),
    (r"\b(do|does|did|is|are|was|were|would|could|should|has|have|had|must)n't\b", r"\1 not"),
    (r"\bcan't\b", "cannot"),
    (r"\bwon't\b", "will not"),
    (r"\bi'm\b", "i am"),
    (r"\b(you|we|they)'re\b", r"\1 are"),
    (r"\b(i|you|we|they)'ve\b", r"\1 have"),
    (r"\b(i|you|we|they|he|she|it)'ll\b", r"\1 will"),
    (rf"(?<![\w'-])(?:(?:{'|'.join(_TENS)})-(?:{'|'.join(_ONES)})|{'|'.join(_NUMBERS)})(?![\w'-])", _number),
    (r"(?<=\d) ?%(?!\w)", " percent"),
    (rf"^(?:how (?:do i|can i|to)|what is the way to) (?=(?:{_STEPS}) )", "how do i "),
    (r"^(?:tell me|give me|calculate) the (?=(?:square|cube) root of \d+$)", "what is the "),
    (rf"^(?:what is|tell me) the (?=(?:{_PROPERTY}) of {_SLOT}$)", "what is the "),
    (rf"^(?:what is|what's|tell me) ({_SLOT})'s ({_PROPERTY})$", r"what is the \2 of \1"),
    (rf"^(?:what is|what's|how much is) (?={_NUMBER}(?: ?(?:{_SIGN}) ?{_NUMBER})+$)", "what is "),
    (rf"^how many ({_SLOT}) are there in (?=(?:(?:a|an|1) )?{_SLOT}$)", r"how many \1 are in "),
)

# -- Chinese -----------------------------------------------------------------------------------------------------------

_UNIT = "(?:千米|公里|米|分米|厘米|毫米|英里|英尺|英寸|海里|公斤|千克|克|斤|吨|磅|盎司|升|毫升|加仑|小时|分钟|秒)"
_ASKED = "什么|谁|哪|多少|几|怎么|怎样|如何|吗"
_STEPS_ZH = (
    "重置|重启|更新|升级|修改|更改|更换|取消|删除|安装|卸载|连接|断开|打开|关闭|创建|注册|注销|激活|启用|停用|联系|退货|退款|下载|上传"
    "|换算|计算|做|煮|清洗|修理|充电|设置|预订|打印|导出|导入|保存|分享|编辑|开通|续费|绑定|解绑"
)
_DIGITS = {char: number for number, char in enumerate("零一二三四五六七八九")}
_WHO = "(?:|[^ ]?[我你您他她它们人狗猫])"
"""Who can or cannot; of other words the last character may belong to the verb (可能, 功能)."""
_CLAUSE = " 知道告诉问想觉认看查管论如果都还就才只也或吗呢不没什谁哪几多怎"
"""With these the form of the question may change its scope."""


def _tens(found: re.Match[str]) -> str:
    tens, _, ones = found.group().partition("十")
    return str(10 * _DIGITS.get(tens, 1) + _DIGITS.get(ones, 0))


_CHINESE = _rules(
    (r"^(?:(?:你好|您好) , )+", ""),
    (r"^(?:请问一下|请问|請問)(?: , )?(?![候题责])", ""),
    (rf"^(?:请告诉我|我想知道)(?: , )?(?=.*(?:{_ASKED}))(?!.*什么时候)", ""),
    (r" , (?:谢谢|谢谢你|谢谢您)$", ""),
    (r"^((?:[^ ]*)(?:怎么|怎样|如何|什么|多少|哪里|谁)[^ ]*)(?<![毛花绒格])呢$", r"\1"),
    (r"(?<![零〇一二两三四五六七八九十百千万亿几多余第数\d点年双])(?:[二三四五六七八九]十[一二三四五六七八九]?|十[二三四五六七八九])"
     r"(?![零〇一二两三四五六七八九十百千万亿几多余来数\d分])", _tens),
    (rf"(?<![零〇一二两三四五六七八九十百千万亿几多余第数半点每\d])[一二三四五六七八九](?={_UNIT})",
     lambda found: str(_DIGITS[found.group()])),
    (r"百分之(\d+(?:\.\d+)?)(?!\d|[零一二三四五六七八九十百])", r"\1%"),
    (rf"^(?:如何|怎样|怎么)(?=(?:{_STEPS_ZH})[^了过没不还这那]+$)", "怎么"),
    (r"(?<!没)有(?=多[高远长重深宽]$)", ""),
    (r"多长时间", "多久"),
    (r"哪儿(?![子童女])", "哪里"),
    (r"^什么是((?:(?![你我他她它们这那的不没最谁哪对错好坏])\w){2,8})$", r"\1是什么"),
    (rf"^(\d[\d.]*{_UNIT})(?:等于|是)多少(?={_UNIT}$)", r"\1等于多少"),
    (rf"^({_WHO})能不能([^{_CLAUSE}]+)$", r"\1能\2吗"),
    (rf"^({_WHO})可不可以([^{_CLAUSE}]+)$", r"\1可以\2吗"),
)  # fmt: skip
