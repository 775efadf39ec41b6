"""Chinese questions in a common form: what is asked for, and the characters of weight."""

import re

from voiceagent.gateway.cache.sense.numbers import chinese_numbers

COUNTED = "#"
"""Stands before what is counted: ounces in a pound are not pounds in an ounce."""

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_TOKEN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\s\u3400-\u4dbf\u4e00-\u9fff]+")
_NUMBER = re.compile(r"\d+(?:[.:/]\d+)*%?|[^\d]+")

_COMMON = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # politeness
        (r"^(?:你好|您好|嗨|喂)+", ""),
        (
            r"请问一下|请问|请告诉我|请教我|请教|请解释一下|请解释|解释一下|请介绍一下|请介绍|告诉我|教我|我想知道|想知道|你知道|您知道|麻烦你?|谢谢你?$|一下",
            "",
        ),
        # synonyms
        (r"首任", "第一任"),
        (r"二战", "第二次世界大战"),
        (r"一战", "第一次世界大战"),
        (r"星期天|星期日|礼拜天|礼拜日|周天", "周日"),
        (r"星期|礼拜", "周"),
        (r"更改|更换|改变|变更", "修改"),
        (r"开启|启用|启动(?=.*模式)", "打开"),
        (r"关掉|关上|停用", "关闭"),
        (r"番茄", "西红柿"),
        (r"支付|付钱|付费", "付款"),
        (r"账户|帐号|帐户", "账号"),
        (r"配送|发货", "送货"),
        (r"手机号码", "手机号"),
        (r"之后|以后", "后"),
        (r"之前|以前", "前"),
        (r"(.)色的", r"\1"),
        (r"(红|橙|黄|绿|青|蓝|紫|黑|白|灰)色", r"\1"),
        (r"(?<=[是为])(红|橙|黄|绿|青|蓝|紫|黑|白|灰)的", r"\1"),
        (r"一共|总共|全部", ""),
        (r"什么意思", "什么"),
        (r"百分之([零〇一二两三四五六七八九十百\d.]+)", r"\1%"),
        (r"乘以", "乘"),
        (r"除以", "除"),
        (r"^求(.+)$", r"\1是多少"),
        # quantities
        (r"(?:有)?多高", "高度是多少"),
        (r"(?:有)?多重", "重量是多少"),
        (r"(?:有)?多深", "深度是多少"),
        (r"(?:有)?多快", "速度是多少"),
        (r"(?:有)?多大", "大小是多少"),
        (r"(.+?)(?:距离|离|到|距)(.+?)(?:有)?多远", r"\1到\2距离是多少"),
        (r"(?:是|有)?多长时间|(?:是|有)?多少时间|(?:是|有)?多久|期(?:是|有)多长", "多久"),
        (r"光速", "光速度"),
        (r"度是多少度", "度是多少"),
        (r"点是多少度", "点是多少"),
        # yes or no
        (r"可不可以|能不能|能否|可否", "可以"),
        (r"是不是|是否", "是"),
        (r"有没有", ""),
        (r"(.)不\1", r"\1"),
        (r"(?<![功可不性])能(?=.*吗?$)(?!量|力|源|够)", "可以"),
        # what is asked for
        (r"该怎么做|要怎么操作|怎么操作|怎么办理|怎么办|怎么样才能|怎样|如何|咋", "怎么"),
        (r"为何|为啥|怎么会", "为什么"),
        (r"哪位|什么人", "谁"),
        (r"什么时候|什么时间|何时|哪一年|哪年|哪一天|哪天|几点", "何时"),
        (r"哪儿|哪里|什么地方|何处|何地", "哪里"),
        (r"是(?:哪里|哪个城市|哪一[个颗座位种条]|哪[个颗座位种条]|哪|什么)$", ""),
        (r"(?:是|等于|为)(?:多少|几)$", ""),
        (r"^什么是", ""),
    )
)
_KINDS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"为什么", "why"),
        (r"怎么", "how"),
        (r"何时", "when"),
        (r"哪里", "where"),
        (r"多久", "long"),
        (r"(?:等于|是|有)?(?:多少个?|几)", "many"),
        (r"什么|哪个|哪些|哪一|哪", "what"),
        (r"应该|应当|要不要|需要(?=.*吗$)", "should"),
        (r"可以", "can"),
        (r"吗$", "yes"),
    )
)
_WANTS = re.compile(r"^我(?:想要|想|要|需要)|^(?:想要|想)")
_LIGHT = re.compile(r"[的了吗呢吧啊呀把在]|你们|我们|您|你|我|需要|这个|那个|之间")
_BE = re.compile(r"(?<!于)是(?!非)|有(?=\d|多少|几|$)|(?<=\d)等于|^从|从(?=.+到)")


def has_chinese(plain: str) -> bool:
    return _HAN.search(plain) is not None


def chinese(plain: str) -> tuple[str, list[str]]:
    """What is asked for, and the characters of weight of normalised text; Latin words and numbers are whole."""
    text = plain.replace("?", "")
    particle = text.endswith("吗")
    asks = "谁" in text
    verb_not_verb = re.search(r"([^可能])不\1|有没有|是不是|是否", text) is not None
    for pattern, replacement in _COMMON:
        text = pattern.sub(replacement, text)
    wants = _WANTS.search(text) is not None
    text = _WANTS.sub("", text)
    kind = "who" if asks else "what"
    for pattern, found in _KINDS:
        if pattern.search(text):
            kind = "who" if asks and found == "what" else found
            text = pattern.sub(COUNTED if found == "many" else "", text)
            break
    else:
        if not asks:
            kind = "yes" if particle or verb_not_verb else ("how" if wants else "what")
    text = chinese_numbers(_BE.sub(" ", _LIGHT.sub(" ", text)))
    return kind, [part for token in _TOKEN.findall(text) for part in _parts(token)]


def _parts(token: str) -> list[str]:
    return [token] if not token[0].isdecimal() else _NUMBER.findall(token)
