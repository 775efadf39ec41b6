"""English questions in a common form: what is asked for, and the words of weight."""

import re

from voiceagent.gateway.cache.sense.numbers import english_numbers

Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> Rules:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


_TIDY = _rules(
    (r"\b(?:u\.s\.a?|usa|us(?= president| dollar| citizen| state)|united states of america)\b", "united states"),
    (r"\b(?:the )?second world war\b", "world war 2"),
    (r"\b(?:the )?first world war\b", "world war 1"),
    (r"\bworld war i\b", "world war 1"),
    (r"\b(what|who|where|when|why|how|that|there|it|he|she|here)'s\b", r"\1 is"),
    (r"\b(ca|wo|sha)n't\b", r"\1n not"),
    (r"n't\b", " not"),
    (r"\bcannot\b", "can not"),
    (r"'(?:ll|re|ve|d|m)\b", ""),
    (r"'s\b|s'(?= )", ""),
    (r"%", " percent"),
)
_POLITE = _rules(
    (r"^(?:(?:hey|hi|hello|okay|ok|so|well|um+|uh+|please|sorry|excuse me)\s+)+", ""),
    (r"(?:\s+(?:please|thanks|thank you))+$", ""),
    (r"^(?:can|could|would|will) you (?:please )?(?=tell|explain|show|help|let|say|give|describe)", ""),
    (r"^(?:please )?(?:do you know|i wonder|i want to know|i would like to know|i like to know|i need to know) ", ""),
    (r"^(?:please )?(?:tell|show|give|let|teach) (?:me|us)(?: know)? (?:about )?", ""),
    (r"^(?:please )?(?:explain|describe|calculate|compute|define|say)(?: to me| me)? ", ""),
    (r"^help me (?:to )?", "how to "),
    (r"\b(?:a|an|the)\b", ""),
    (r"\s+", " "),
    (r"^ ", ""),
)
_FRAMES = _rules(
    (r"^(?:i )?(?:want|would like|like|need|have|wish) to ", "how to "),
    (r"^what (?:is|are) (?:way|best way|steps?|procedure) (?:to|for|of) ", "how to "),
    (r"^what do (?:i|you|we) (?:have|need) to do to ", "how to "),
    (r"^how (?:do|can|could|should|would|to|does) (?:(?:i|you|we|one|to)\b ?)?", "how to "),
    (r"^how to way to ", "how to "),
    (r"^what is formula for (\w+)ing ", r"how to \1 "),
    (r"^what is recipe for ", "how to make "),
    (r"^what is meaning of (\w+)$", r"what is meaning of \1"),
    (r"^what (?:does|do) (.+) mean$", r"what is \1"),
    (r"^(?:what is )?number of ", "how many "),
    (r"^how much time ", "how long "),
    (r"^for how long ", "how long "),
    (r"^how (?:tall|high) ", "what height "),
    (r"^how far (?:away )?", "what distance "),
    (r"^how fast ", "what speed "),
    (r"^how old ", "what age "),
    (r"^how (?:big|large) ", "what size "),
    (r"^how deep ", "what depth "),
    (r"^how heavy ", "what weight "),
    (r"^how hot ", "what temperature "),
    (r"^how much (?:does|do) (.+) cost$", r"what price \1"),
    (r"^how much (?:is|are) ", "what is "),
    (r"^(?:in|on|at) (?:what|which) (?:year|date|day|month|time)\b", "when"),
    (r"^what (?:year|date|day|month|time)\b", "when"),
    (r"^at (?:what|which) temperature does (\w+) boil$", r"what is boiling point of \1"),
    (r"^when (?:is|was|are) (?:end|beginning|start) of (.+)$", r"when did \1 end"),
    (r"^how (?:do|does) (.+) differ$", r"what is difference between \1"),
    (r"^how to (\w+ and \w+) differ$", r"what is difference between \1"),
    (r"^(?:what makes|how come|for what reason) ", "why "),
    (r"^can you (?!not)", "do you "),
    (r"^(?:am|is|are|be) (.+?) (?:allowed|permitted|able) to ", r"can \1 "),
    (r"^is it (?:possible|allowed|okay|ok|permitted) (?:for me |for us )?to ", "can "),
    (r"^(?:may|could) ", "can "),
    (r"^(?:do|must|need) (?:i|we|you|one) (?:need|have) to ", "should "),
    (r"^(?:do|must) (?:i|we) (?:need|have) to ", "should "),
    (r"\bsafely (\w+)", r"safe to \1"),
    (r"\b(?:turn|switch) (on|off)\b", r"switch\1"),
    (r"\b(?:turn|switch) (.+?) (on|off)$", r"switch\2 \1"),
    (r"\b(?:sign|log) (?:in|on|into)\b", "login"),
    (r"\bcustomer service\b", "customer support"),
    (r"\bcredit card\b", "creditcard"),
)
_KINDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"^how many\b", "many"),
        (r"^how much\b", "much"),
        (r"^how long\b", "long"),
        (r"^how often\b", "often"),
        (r"^how\b(?: to\b)?", "how"),
        (r"^(?:who|whom|whose)\b", "who"),
        (r"^when\b", "when"),
        (r"^where\b", "where"),
        (r"^why\b", "why"),
        (r"^(?:what|which)\b", "what"),
        (r"^can\b", "can"),
        (r"^should\b", "should"),
        (r"^(?:is|are|am|was|were|do|does|did|has|have|had|will|would)\b", "yes"),
    )
)
_LIGHT = frozenset(
    """a an the i you we me my your our one it its they them their he she his her this that these those there
    is are am was were be been being do does did doing have has had having will would shall of in at on for as about
    any some please also just really actually exactly people exist contain considered ever world""".split()
)
"""Words without weight in a question. `to` counts where it names a direction, see `_directions`."""
_MODAL = frozenset("can could should must may might need have to".split())
_FREE = frozenset(["how", "long", "many", "much", "where"])
"""Kinds in which a modal verb changes nothing."""
_DIRECTIONS = frozenset(
    """from to into onto before after with without over under against until till since within via by between above below
    through than""".split()
)
_SAME = {
    "into": "to", "onto": "to", "till": "until",
    "cellphone": "phone", "smartphone": "phone", "mobile": "phone", "picture": "photo", "image": "photo",
    "movie": "film", "soccer": "football", "colour": "color", "kilometre": "kilometer", "metre": "meter",
    "litre": "liter", "centre": "center", "biggest": "largest", "greatest": "largest", "begin": "start",
    "commence": "start", "finish": "end", "deliver": "ship", "delivery": "delivery", "reach": "contact",
    "enable": "switchon", "activate": "switchon", "disable": "switchoff", "deactivate": "switchoff",
    "purchase": "buy", "repair": "fix", "modify": "change", "alter": "change", "automobile": "car",
    "physician": "doctor", "tv": "television", "author": "write", "writer": "write", "painter": "paint",
    "inventor": "invent", "founder": "found", "discoverer": "discover", "composer": "compose", "cook": "make",
    "remove": "delete", "erase": "delete", "bike": "bicycle", "kid": "child", "maximal": "maximum",
    "minimal": "minimum", "accept": "take", "usual": "normal", "quick": "fast", "rapid": "fast",
}  # fmt: skip
_IRREGULAR = {
    "wrote": "write", "written": "write", "spoke": "speak", "spoken": "speak", "made": "make", "making": "make",
    "took": "take", "taken": "take", "went": "go", "gone": "go", "began": "start", "begun": "start", "sold": "sell",
    "bought": "buy", "found": "find", "paid": "pay", "sent": "send", "built": "build", "held": "hold", "ate": "eat",
    "eaten": "eat", "drank": "drink", "drunk": "drink", "won": "win", "lost": "lose", "left": "leave", "grew": "grow",
    "grown": "grow", "knew": "know", "known": "know", "gave": "give", "given": "give", "saw": "see", "seen": "see",
    "children": "child", "men": "man", "women": "woman", "feet": "foot", "teeth": "tooth", "mice": "mouse",
    "bacteria": "bacterium", "viruses": "virus", "fungi": "fungus", "leaves": "leaf", "lives": "life",
    "stole": "steal", "stolen": "steal", "drove": "drive", "driven": "drive", "flew": "fly", "flown": "fly",
    "broke": "break", "broken": "break", "chose": "choose", "chosen": "choose", "came": "come", "became": "become",
    "during": "during", "thing": "thing", "king": "king", "ring": "ring", "bring": "bring", "spring": "spring",
    "string": "string", "sing": "sing", "wing": "wing", "nothing": "nothing", "morning": "morning",
    "evening": "evening", "red": "red", "bed": "bed", "need": "need", "seed": "seed", "speed": "speed", "feed": "feed",
    "hundred": "hundred", "news": "news", "bus": "bus", "gas": "gas", "always": "always", "series": "series",
    "species": "species", "paris": "paris", "mars": "mars", "texas": "texas", "christmas": "christmas",
}  # fmt: skip
_TWICE = re.compile(r"(?:([bdgkmnprt])\1)$")
_SHORT = re.compile(r"^(?:[^aeiou]*|[aeiou]?)[aeiouy][^aeiouwxy]$")
_TOKEN = re.compile(r"[^\s'\"]+")


def english(plain: str) -> tuple[str, list[str]]:
    """What is asked for, and the words of weight of normalised text."""
    for rules in (_TIDY, _POLITE, _FRAMES):
        for pattern, replacement in rules:
            plain = pattern.sub(replacement, plain)
    kind = "what"
    for pattern, found in _KINDS:
        if match := pattern.match(plain):
            kind, plain = found, plain[match.end() :]
            break
    tokens = [token.strip("-./,:&=") for token in _TOKEN.findall(plain)]
    words = _directed(
        english_numbers([token for token in tokens if token]), light=_LIGHT | _MODAL if kind in _FREE else _LIGHT
    )
    if kind == "many" and words:
        words[0] = f"many:{words[0]}"  # what is counted: pounds in an ounce are not ounces in a pound
    return kind, _alternatives(words)


def _common(word: str) -> str:
    """The common form of a word and its synonyms."""
    stem = _stem(word)
    return _SAME.get(word) or _SAME.get(stem, stem)


def _stem(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "ches", "shes", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    for ending in ("ing", "ed"):
        base = word.removesuffix(ending)
        if base != word and len(base) > 1 and re.search("[aeiouy]", base):
            if base.endswith("i"):
                return base[:-1] + "y"
            if _TWICE.search(base):
                return base[:-1]
            return (
                base + "e"
                if _SHORT.match(base) or base.endswith(("at", "iv", "uc", "ang", "eas", "os", "us"))
                else base
            )
    return word


def _directed(words: list[str], light: frozenset[str]) -> list[str]:
    """Words of weight; one that names a direction is joined to the word it belongs to."""
    out: list[str] = []
    direction = ""
    for raw in words:
        word = raw if raw in light else _common(raw)
        if word in _DIRECTIONS:
            direction = word
        elif word not in light:
            out.append(f"{direction}:{word}" if direction else word)
            direction = ""
    return [*out, direction] if direction else out


def _alternatives(words: list[str]) -> list[str]:
    """ "gold or lead" is "lead or gold": around such a word the two neighbours are put in order."""
    for place, word in enumerate(words):
        if word in ("or", "and") and 0 < place < len(words) - 1:
            before, after = words[place - 1], words[place + 1]
            direction, _, first = before.rpartition(":")
            first, second = sorted((first, after))
            words[place - 1], words[place + 1] = f"{direction}:{first}" if direction else first, second
    return words
