"""Amounts of money in English."""

import re
from dataclasses import dataclass

from voiceagent.tts.normalise.english.numbers import cardinal, say
from voiceagent.tts.normalise.numerals import NUMBER, Number, read
from voiceagent.tts.normalise.spans import Match, Rule, rule


@dataclass(frozen=True, slots=True)
class Currency:
    """`hundredths`: what a hundredth of it is called; '' where it has none."""

    one: str
    many: str
    hundredths: str = ""


_DOLLAR = Currency("dollar", "dollars", "cent")
_EURO = Currency("euro", "euros", "cent")
_YEN = Currency("yen", "yen")
_YUAN = Currency("yuan", "yuan")


def _dollar(land: str) -> Currency:
    return Currency(f"{land} dollar", f"{land} dollars", "cent")


CURRENCIES = {
    "US$": _dollar("U S"), "A$": _dollar("Australian"), "AU$": _dollar("Australian"), "C$": _dollar("Canadian"),
    "CA$": _dollar("Canadian"), "HK$": _dollar("Hong Kong"), "NZ$": _dollar("New Zealand"), "S$": _dollar("Singapore"),
    "NT$": _dollar("Taiwan"), "R$": Currency("real", "reais", "centavo"), "$": _DOLLAR, "€": _EURO,
    "£": Currency("pound", "pounds", "p"), "CN¥": _YUAN, "¥": _YEN, "￥": _YEN, "₹": Currency("rupee", "rupees", "paise"),
    "₩": Currency("won", "won"), "₽": Currency("ruble", "rubles", "kopeck"), "₺": Currency("lira", "lira"),
    "₫": Currency("dong", "dong"), "₪": Currency("shekel", "shekels"), "₱": Currency("peso", "pesos", "centavo"),
    "฿": Currency("baht", "baht"), "₿": Currency("bitcoin", "bitcoins"), "Rs.": Currency("rupee", "rupees", "paise"),
    "USD": _dollar("U S"), "EUR": _EURO, "GBP": Currency("pound", "pounds", "p"), "JPY": _YEN, "CNY": _YUAN,
    "RMB": _YUAN, "CHF": Currency("Swiss franc", "Swiss francs"), "AUD": _dollar("Australian"),
    "CAD": _dollar("Canadian"), "HKD": _dollar("Hong Kong"), "SGD": _dollar("Singapore"), "NZD": _dollar("New Zealand"),
    "INR": Currency("Indian rupee", "Indian rupees", "paise"), "KRW": Currency("won", "won"),
    "SEK": Currency("Swedish krona", "Swedish kronor"), "NOK": Currency("Norwegian krone", "Norwegian kroner"),
    "DKK": Currency("Danish krone", "Danish kroner"), "PLN": Currency("zloty", "zloty"),
    "MXN": Currency("Mexican peso", "Mexican pesos"), "BRL": Currency("Brazilian real", "Brazilian reais"),
    "RUB": Currency("ruble", "rubles"), "TRY": Currency("Turkish lira", "Turkish lira"),
    "ZAR": Currency("rand", "rand"), "THB": Currency("baht", "baht"), "TWD": _dollar("Taiwan"),
    "BTC": Currency("bitcoin", "bitcoins"), "ETH": Currency("ether", "ether"),
}  # fmt: skip

_SCALES = {
    "k": "thousand", "thousand": "thousand", "m": "million", "mn": "million", "mm": "million", "mio": "million",
    "million": "million", "b": "billion", "bn": "billion", "billion": "billion", "t": "trillion", "tn": "trillion",
    "trillion": "trillion",
}  # fmt: skip
_ANY = "|".join(re.escape(sign) for sign in sorted(CURRENCIES, key=len, reverse=True))
_SIGN = rf"(?<![A-Za-z])({_ANY})"
_SCALE = r"(?:\s?(thousand|million|billion|trillion|[kK]|mn|mio|M|m(?![A-Za-z])|bn|B|b(?![A-Za-z])|tn|T)(?![A-Za-z]))?"
_TO = r"\s?(?:-|–|—|~|to)\s?"
_PER = (
    r"(?:\s?/\s?(month|mo|year|yr|week|wk|day|hour|hr|h|night|person|unit|item|piece|kg|lb|gal|gallon|litre|liter|l|mile"
    r"|user|seat|minute|min|GB)\b)?"
)
_PERIODS = {
    "mo": "month", "yr": "year", "wk": "week", "hr": "hour", "h": "hour", "kg": "kilogram", "lb": "pound",
    "gal": "gallon", "l": "liter", "min": "minute", "GB": "gigabyte",
}  # fmt: skip


_THOUSANDS = re.compile(r"(?<=\d)\.(?=\d{3}(?:\D|$))(?<!\d{4}\.)")


def amount(currency: Currency, number: Number, scale: str | None = None) -> str:
    """ "one hundred twenty dollars and thirty-five cents"."""
    sign = "minus " if number.negative else ""
    if scale:
        return f"{say(number)} {_SCALES[scale.lower()]} {currency.many}"
    cents = number.decimals or ""
    if cents.strip("0") and currency.hundredths and len(cents) <= 2:
        hundredths = int(cents.ljust(2, "0"))
        name = currency.hundredths
        part = cardinal(hundredths) + (" " + name + ("" if hundredths == 1 or name in ("p", "paise") else "s"))
        part = part.replace(" p", " pence") if name == "p" else part
        if not number.value:
            return sign + part
        return f"{sign}{cardinal(number.value)} {currency.one if number.value == 1 else currency.many} and {part}"
    shown = Number(number.whole, number.decimals if cents.strip("0") else None, number.negative)
    return f"{say(shown)} {currency.one if shown.is_one else currency.many}"


def _after(written: str) -> str:
    return f" per {_PERIODS.get(written, written)}" if written else ""


@rule(
    rf"(?<![\w.])([-−]\s?)?{_SIGN}\s?([-−]?{NUMBER}){_SCALE}(?:{_TO}(?:\2\s?)?({NUMBER}){_SCALE}(?![\d:/]))?{_PER}(\+)?(?![A-Za-z0-9])"
)
def _sign_first(found: Match) -> str:
    sign, name, first, scale, second, second_scale, period, more = found.groups()
    currency = CURRENCIES[name]
    number = read(first)
    number = Number(number.whole, number.decimals, number.negative or bool(sign))
    if second is None:
        said = _adjective(found, currency, number, scale) or amount(currency, number, scale)
    elif scale or second_scale or not (number.decimals or read(second).decimals):
        shared = f" {_SCALES[scale.lower()]}" if scale and scale != second_scale else ""
        said = f"{say(number)}{shared} to {amount(currency, read(second), second_scale)}"
    else:
        said = f"{amount(currency, number)} to {amount(currency, read(second))}"
    return said + _after(period or "") + (" plus" if more else "")


def _adjective(found: Match, currency: Currency, number: Number, scale: str | None) -> str | None:
    """ "a $20 bill"."""
    before, after = found.string[: found.start()], found.string[found.end() :]
    if (
        number.decimals
        or not re.search(r"\b(?:an?|every|each)\s$", before, re.I)
        or not re.match(r"\s[a-z]{3,}", after)
    ):
        return None
    if re.match(r"\s(?:per|each|for|and|from|off|more|less|every)\b", after):
        return None
    return f"{say(number)}{' ' + _SCALES[scale.lower()] if scale else ''} {currency.one}"


@rule(
    rf"(?<![\w.,])([-−+]?{NUMBER}){_SCALE}(?:{_TO}({NUMBER}){_SCALE})?\s?(€|£|₽|₫|₺|¢|[A-Z]{{3}}|Euros?|euros?|\$(?!\s?\d))(?![A-Za-z0-9]){_PER}"
)
def _sign_last(found: Match) -> str | None:
    first, scale, second, second_scale, name, period = found.groups()
    if name == "¢":
        return f"{say(read(first))} {'cent' if read(first).is_one else 'cents'}"
    currency = _EURO if name.lower().startswith("euro") else CURRENCIES.get(name)
    if currency is None:
        return None
    if currency is _EURO:  # where a point parts thousands
        first, second = (_THOUSANDS.sub("", part) if part else part for part in (first, second))
    last = amount(currency, read(second or first), second_scale if second else scale)
    return (f"{say(read(first))} to {last}" if second else last) + _after(period or "")


MONEY: list[Rule] = [_sign_first, _sign_last]
