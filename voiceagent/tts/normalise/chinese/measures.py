"""Money, percentages and quantities with a unit in Chinese."""

import re

from voiceagent.tts.normalise.chinese.numbers import count, say
from voiceagent.tts.normalise.numerals import NUMBER, Number, read
from voiceagent.tts.normalise.spans import Match, Rule, rule

_CURRENCIES = {
    "￥": "元", "¥": "元", "CN¥": "元", "$": "美元", "US$": "美元", "HK$": "港元", "NT$": "新台币", "A$": "澳元", "C$": "加元",
    "S$": "新加坡元", "€": "欧元", "£": "英镑", "₩": "韩元", "₹": "卢比", "₽": "卢布", "฿": "泰铢", "RMB": "元人民币",
    "CNY": "元人民币", "USD": "美元", "EUR": "欧元", "GBP": "英镑", "HKD": "港元", "JPY": "日元", "KRW": "韩元", "TWD": "新台币",
    "AUD": "澳元", "CAD": "加元", "SGD": "新加坡元", "BTC": "比特币",
}  # fmt: skip
UNITS = {
    "km": "公里", "m": "米", "cm": "厘米", "mm": "毫米", "µm": "微米", "μm": "微米", "nm": "纳米", "mi": "英里", "ft": "英尺",
    "kg": "千克", "KG": "千克", "Kg": "千克", "g": "克", "mg": "毫克", "µg": "微克", "μg": "微克", "t": "吨", "lb": "磅", "oz": "盎司",
    "L": "升", "l": "升", "ml": "毫升", "mL": "毫升", "ML": "毫升", "h": "小时", "min": "分钟", "s": "秒", "ms": "毫秒", "μs": "微秒",
    "℃": "摄氏度", "°C": "摄氏度", "℉": "华氏度", "°F": "华氏度", "°": "度", "Hz": "赫兹", "kHz": "千赫兹", "MHz": "兆赫兹",
    "GHz": "吉赫兹", "W": "瓦", "kW": "千瓦", "KW": "千瓦", "MW": "兆瓦", "kWh": "千瓦时", "V": "伏", "kV": "千伏", "A": "安",
    "mA": "毫安", "mAh": "毫安时", "J": "焦", "kJ": "千焦", "kcal": "千卡", "cal": "卡", "Pa": "帕", "kPa": "千帕", "MPa": "兆帕",
    "hPa": "百帕", "N": "牛", "dB": "分贝", "Ω": "欧姆", "ha": "公顷", "px": "像素", "fps": "帧每秒", "rpm": "转每分钟",
    "mph": "英里每小时", "㎡": "平方米", "㎞": "千米", "㎏": "千克", "㎝": "厘米", "㎜": "毫米", "㎎": "毫克", "㎥": "立方米",
    "KB": "KB", "MB": "MB", "GB": "GB", "TB": "TB", "Mbps": "兆比特每秒", "Gbps": "吉比特每秒", "mmHg": "毫米汞柱", "mol": "摩尔",
    "bpm": "次每分钟", "ppm": "百万分之一",
}  # fmt: skip
_PER = {
    "h": "小时",
    "s": "秒",
    "min": "分钟",
    "d": "天",
    "天": "天",
    "小时": "小时",
    "月": "月",
    "年": "年",
    "人": "人",
    "斤": "斤",
}
_SPACED = frozenset("A N J V W t".split())
"""With a space before them they may be names."""
_PLURAL = re.compile(
    "元|块|角|毛|美元|欧元|英镑|港元|米|公里|千米|千克|公斤|克|升|吨|小时|分钟|秒|度|英里|英尺|磅|平方|立方"
)
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_SIGN = "|".join(re.escape(sign) for sign in sorted(_CURRENCIES, key=len, reverse=True))
_TO = r"\s?(?:-|–|—|－|~|～|到|至)\s?"
_SCALE = r"(万亿|百万|千万|[万亿千百]|[kKMB](?![A-Za-z]))?"
_LETTERS = {"k": 3, "K": 3, "M": 6, "B": 9}
"""Zeros of what is written in the Western way."""
_START = r"(?<![A-Za-z0-9.,])"
_COLD = re.compile("(?:气温|温度|体温|最低|最高|低至|降到|降至|零下)[^，。]{0,6}$")


def _quantity(number: Number, scale: str | None, unit: str) -> str:
    """Two is 两 before most units, and before what scales it."""
    if scale in _LETTERS:
        shifted = (number.decimals or "").ljust(_LETTERS[scale], "0")
        places = _LETTERS[scale]
        rest = shifted[places:].rstrip("0") or None
        number, scale = Number(number.whole + shifted[:places], rest, number.negative), None
    words = count(number) if scale or _PLURAL.match(unit) else say(number)
    return words + (scale or "") + unit


@rule(
    rf"{_START}([-−]\s?)?({_SIGN})\s?([-−]?{NUMBER})\s?{_SCALE}(?:{_TO}(?:\2)?\s?({NUMBER})\s?{_SCALE})?(?:元|块)?(?:\s?/\s?(天|小时|月|年|人|斤|[hd]))?"
)
def _sign_first(found: Match) -> str | None:
    sign, name, first, scale, second, second_scale, per = found.groups()
    number = read(first)
    number = Number(number.whole, number.decimals, number.negative or bool(sign))
    unit = _CURRENCIES[name]
    each = f"每{_PER[per]}" if per else ""
    if second is None:
        return each + _quantity(number, scale, unit)
    return f"{each}{say(number)}{scale or ''}到{_quantity(read(second), second_scale, unit)}"


@rule(rf"{_START}({NUMBER})\s?{_SCALE}\s?({_SIGN})(?![A-Za-z0-9])")
def _sign_last(found: Match) -> str:
    return _quantity(read(found[1]), found[2], _CURRENCIES[found[3]])


@rule(
    rf"{_START}([-−+]?)({NUMBER})(万|亿)?(元|块钱?|美元|欧元|英镑)/(天|小时|月|年|人|斤|公斤|千克|个|件|次|晚|克|平米|吨|升|张|份|盒|瓶|kg|h|m²|㎡)",
    "/",
)
def _price(found: Match) -> str:
    number = read(found[1] + found[2])
    unit = UNITS.get(found[5], found[5]).replace("m²", "平方米")
    return f"每{unit}{_quantity(number, found[3], found[4])}"


@rule(
    rf"{_START}(?<![A-Za-z0-9)%][-−])(?:([-−+±~～≈约])\s?)?({NUMBER})\s?([%％‰])?(?:{_TO}([-−]?{NUMBER}))?\s?([%％‰])",
    "%％‰",
)
def _percent(found: Match) -> str:
    sign, first, _, second, mark = found.groups()
    part = "千分之" if mark == "‰" else "百分之"
    signs = {"-": "负", "−": "负", "±": "正负", "~": "约", "～": "约", "≈": "约", "约": "约", "+": "加"}
    said = f"{signs.get(sign or '', '')}{part}{_hundred(first)}"
    return f"{said}到{part}{_hundred(second)}" if second else said


def _hundred(written: str) -> str:
    number = read(written)
    return "百" if number.value == 100 and not number.decimals else say(number)


@rule(
    rf"{_START}(?<![A-Za-z0-9)][-−])(?:([-−+±~～≈])\s?)?({NUMBER})\s?(万|亿)?(?:(?:{_UNIT})?{_TO}([-−]?{NUMBER}))?(\s?)({_UNIT})(²|³|\^?[23](?!\d))?"
    r"(?:\s?/\s?(h|s|min|d|天|小时|[A-Za-z]{1,3})(²|\^?2)?)?(?![A-Za-z0-9°])"
)
def _unit(found: Match) -> str | None:
    sign, first, scale, second, gap, name, power, below, below_power = found.groups()
    if name in _SPACED and not gap and found.string[found.end() : found.end() + 1] in ("座", "区", "栋", "股", "级"):
        return None
    if power and name not in ("km", "m", "cm", "mm", "mi", "ft"):
        return None
    unit = UNITS[name]
    if power in ("²", "2", "^2"):
        unit = f"平方{unit}"
    elif power:
        unit = f"立方{unit}"
    number = read(first)
    minus = sign in ("-", "−")
    lead = {"±": "正负", "~": "约", "～": "约", "≈": "约", "+": "加"}.get(sign or "", "")
    if minus:
        lead = "零下" if "氏度" in unit or (unit == "度" and _COLD.search(found.string[: found.start()])) else "负"
        if lead == "零下" and found.string[: found.start()].endswith("零下"):
            lead = ""
    value = (
        f"{say(number)}{scale or ''}到{_quantity(read(second), None, unit)}"
        if second
        else _quantity(number, scale, unit)
    )
    if below:
        divisor = _PER.get(below) or UNITS.get(below)
        if divisor is None:
            return None
        if below_power:
            return f"{lead}{value}每平方{divisor}" if divisor != "秒" else f"{lead}{value}每二次方秒"
        repeated = f"每{divisor}"
        return f"{repeated}{lead}{value}"
    return lead + value


@rule(rf"{_START}(\d{{2,3}})/(\d{{2,3}})\s?(?:mmHg|毫米汞柱)", "/")
def _pressure(found: Match) -> str:
    return f"{say(read(found[1]))}，{say(read(found[2]))}毫米汞柱"


@rule(rf"{_START}(\d{{3,5}})\s?[xX×*]\s?(\d{{3,5}})(?![A-Za-z0-9.]|\s?=)", "xX×*")
def _size(found: Match) -> str:
    return f"{say(read(found[1]))}乘{say(read(found[2]))}"


MEASURES: list[Rule] = [_pressure, _price, _sign_first, _sign_last, _percent, _size, _unit]
