"""Words before a number that tell what kind of number it is."""

import re

from voiceagent.tts.normalise.spans import Match

_LOOK_BACK = 60

_CODE_WORDS = (
    r"codes?|pins?|passcodes?|passwords?|passphrase|otp|zip|postcode|account|acct|a/c|booking|reservation|reference|ref"
    r"|confirmation|tracking|serial|invoice|case|ids?|card|routing|licen[cs]e|plate|registration|social security|ssn"
    r"|passport|member(?:ship)?|customer|policy|ticket|order|claim|badge|employee|model|part|sku|batch|iban|isbn|token"
    r"|digits|ending|ends"
)
_PHONE_WORDS = (
    r"call(?:ing)?|dial(?:ling|ing)?|phone|telephone|tel|ring|text|sms|mobile|cell|fax|whatsapp|hotline|helpline|landline"
    r"|extension|ext|reach (?:us|me|him|her|them)(?: (?:at|on))?"
)
_CONNECT = (
    r"(?:[\s:=#,.\"'“(–-]|\b(?:number|no|nr|num|code|id|pin|is|was|are|be|reads|now|ends?|ending|(?<=ending )in|(?<=ends )in"
    r"|(?<=end )in|with|the|this|your|my|our|his|her|their|its|at|us|me|him|them|on|plate|starting|again|will|today"
    r"|as follows|following|(?:that )?(?:you|I|we) (?:asked for|requested|need(?:ed)?|wanted|sent(?: you)?)|for you)\b)*"
)
_CODE = re.compile(rf"(?<![A-Za-z])(?:{_CODE_WORDS})(?![A-Za-z]){_CONNECT}$", re.I)
_SURE = re.compile(r"(?:\b(?:is|was|are|number|no\.?|in|id|pin|zip|otp|passcode|password)|[:=#])[\s\"'“(]*$", re.I)
_PHONE = re.compile(
    rf"(?<![A-Za-z])(?:{_PHONE_WORDS})(?![A-Za-z]){_CONNECT}(?:\d{{3}}\s*(?:,|or|and|,\s*or)\s*)*$", re.I
)
_PHONE_NUMBER = re.compile(rf"\b(?:number|contact)(?![A-Za-z]){_CONNECT}$", re.I)
_EMERGENCY = re.compile(
    r"\b(?:police|ambulance|fire (?:brigade|department|service)|emergency(?: (?:number|services?|line))?)\b"
    r"(?:[\s:,(]|\b(?:is|on|at|call|dial|number|the)\b)*$",
    re.I,
)
_PLACE = re.compile(
    r"(?<![A-Za-z])(?:room|suite|ste|apartment|apt|flat|unit|gate|highway|hwy|route|interstate|freeway|bus|channel|platform"
    r"|seat|exit|terminal|locker|extension|ext)\.?(?:\s+(?:number|no\.?))?\s*#?\s*$",
    re.I,
)
_FLIGHT = re.compile(r"\b(?:flights?|train)(?:\s+(?:number|no\.?|is|from))?[\s:#]*$", re.I)
_AS_CODE = re.compile(r"\s+as\s+(?:the|your|my|a)\s+(?:pin|code|passcode|password|otp)\b", re.I)
_COUNTED = re.compile(
    r"\s+(?:(?:more|new|other|different|small|big|large|full|extra|total|cubic|square)\s+)?"
    r"(?:people|men|women|children|times|percent|euros?|dollars?|pounds?|years?|hours?|minutes?|seconds?|days?|weeks?"
    r"|months?|miles?|meters?|metres?|kilometers?|feet|inches|degrees|books|items|pages|words|steps|lines|pizzas"
    r"|(?!is\b|was\b|has\b|as\b|this\b|its\b|expires|works|does|starts|ends|begins|opens|closes|boards|leaves|arrives)"
    r"[a-z]{3,}(?<!s)s)\b"
)


def tail(found: Match) -> str:
    """What stands before a match, as far as it can matter."""
    return found.string[max(0, found.start() - _LOOK_BACK) : found.start()]


def counts_something(found: Match) -> bool:
    """Whether a plural noun follows: then it is a number of things."""
    return _COUNTED.match(found.string, found.end()) is not None


def is_code(found: Match) -> bool:
    """Whether the number is read digit by digit because of the words around it."""
    before = tail(found)
    if _AS_CODE.match(found.string, found.end()):
        return True
    if not _CODE.search(before):
        return False
    size = sum(char.isalnum() for char in found[0])
    return size > 3 or _SURE.search(before) is not None or not counts_something(found)


def is_dialled(found: Match) -> bool:
    """Whether it is a telephone number by the words before it."""
    before = tail(found)
    if _PHONE.search(before) or _EMERGENCY.search(before):
        return not counts_something(found)
    return _PHONE_NUMBER.search(before) is not None and sum(char.isdecimal() for char in found[0]) > 4


def is_place(found: Match) -> bool:
    """A room, a road, a gate."""
    return _PLACE.search(tail(found)) is not None


def is_flight(found: Match) -> bool:
    return _FLIGHT.search(tail(found)) is not None
