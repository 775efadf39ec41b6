"""The prompt of a reply, built from what was said: pure functions, no I/O.

The parts stand in the order in which they change, so that an endpoint's prompt cache keeps its worth: the instructions,
then earlier talks (fixed for a talk), then a line on what fell out of this talk, then its latest turns. Turns are dropped
in blocks, because each drop makes the endpoint read everything after the instructions anew.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from voiceagent.llm.base import Message
from voiceagent.memory.base import Entry

MESSAGE_TOKENS = 4
"""What a chat template puts around a message: `<|im_start|>user\\n…<|im_end|>\\n` is 4 to 5 tokens."""
SENTENCE_TOKENS = 24
"""The most that is kept of a turn that fell out."""
ELLIPSIS = " … "
EARLIER_TALKS = "From earlier talks with this user:"
EARLIER_IN_TALK = "Earlier in this talk the user said:"

_SENTENCE = re.compile(r".+?(?:[.!?]+(?=\s|$)|[。！？…\n]+|$)", re.DOTALL)
_OF_THE_USER = re.compile(r"\b(?:i|i'm|my|me|mine|we|our)\b|我|咱", re.IGNORECASE)
_QUESTION = re.compile(r"[?？]\s*$")


def build(
    instructions: str,
    earlier: Sequence[Entry],
    turns: Sequence[Message],
    *,
    turn_limit: int,
    token_budget: int,
) -> tuple[Message, ...]:
    """The messages of a request.

    `turns` is this whole talk, oldest first; a turn is a user's message with what follows it. At least the last
    `turn_limit` of them are kept (a few more between two drops), as far as the budget allows, and the newest always: if
    it alone is too long, its middle is left out. `token_budget`, at least 64, bounds by `estimate_tokens` everything but
    the instructions, which are never cut. Messages without text are left out, neighbours of one role are joined.
    """
    if token_budget < 64 or turn_limit < 1:
        raise ValueError("a prompt needs a budget of 64 tokens and one turn")
    talks = _earlier_talks(earlier, token_budget // 4)
    blocks = _by_turn(_merged(turns))
    room = token_budget - estimate_tokens(talks)
    dropped = _how_many_to_drop(blocks, turn_limit, room, room - token_budget // 8)
    summary = _summary([message.content for block in blocks[:dropped] for message in block], token_budget // 8)
    system = "\n\n".join(part for part in (instructions.strip(), talks, summary) if part)
    kept = [message for block in blocks[dropped:] for message in block]
    if dropped == len(blocks) - 1:
        kept = _fitted(kept, room - estimate_tokens(summary))
    return (Message("system", system), *kept) if system else tuple(kept)


def estimate_tokens(text: str) -> int:
    """Tokens of a text by rule, meant to be rather too many than too few: a Latin letter is a quarter of a token (English
    prose has 4 to 5 letters a token in the usual vocabularies), a digit or other European letter half a token, a Chinese,
    Japanese or Korean character one, an emoji or rare character two."""
    return (sum(map(_quarters, text)) + 3) // 4


def prompt_tokens(messages: Iterable[Message]) -> int:
    """The estimate for whole messages, with what the chat template puts around them."""
    return sum(MESSAGE_TOKENS + estimate_tokens(message.content) for message in messages)


def shorten(text: str, tokens: int) -> str:
    """The text, with its middle replaced by an ellipsis where it is longer than `tokens`. No character is split from the
    marks that belong to it."""
    if estimate_tokens(text) <= tokens:
        return text
    half = (tokens - 1) * 4 // 2
    head = _whole(text, _reach(text, half))
    rest = text[::-1]
    tail = _whole(text, len(text) - _reach(rest, half), forward=True)
    return (text[:head].rstrip() + ELLIPSIS + text[tail:].lstrip()).strip() if half > 0 else ELLIPSIS.strip()


def _quarters(character: str) -> int:
    code = ord(character)
    if code >= 0x10000:
        return 8
    if code >= 0x2E80:
        return 4
    return 2 if code >= 0x80 or character.isdigit() else 1
