"""Which questions an answer may be kept of, and under what name."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from voiceagent.gateway.cache.wording import common_wording
from voiceagent.guard.personal_data import find
from voiceagent.llm.base import LlmRequest, Message

Skip = Literal["tools", "context", "length", "personal", "time"]
"""Why an answer is not kept: there are tools; the question is part of a talk; it is too long; it has personal data;
its answer changes with time, place or mood."""

MOST_CHARS = 300
"""Of a question: longer ones hardly come twice."""

_PERSONAL = re.compile(
    r"\b(?:my name|i am called|call me|(?:i'm|i am) (?!not |being )|i live|i was (?:born|diagnosed)"
    r"|(?<!should )(?<!can )(?<!may )(?<!do )i (?:earn|weigh|suffer|take)"
    r"|my (?:[\w-]+ ){1,3}(?:is|was|are|were) (?!there|it|in|safe|possible|allowed)"
    r"|my (?:wife|husband|son|daughter|mother|father|girlfriend|boyfriend|boss|doctor|diagnosis|salary|debts?))\b"
    r"|我叫|我姓|我的名字|我是(?!否|不是)|我住|我家|我今年|我出生|我得了|我患|我怀孕"
    r"|我的?(?:妻子|老婆|丈夫|老公|儿子|女儿|妈妈|爸爸|母亲|父亲|女朋友|男朋友|老板|病|工资|[^，。？是]{1,6}是(?!不是|否|什么|多少|谁|哪))",
    re.IGNORECASE,
)
"""Who speaks of themselves. What has a form of its own (numbers, addresses) the guard rails find."""
_CHANGING = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|now|nowadays|current|currently|latest|newest|recent|recently|lately|still"
    r"|yet|already|soon|this (?:morning|afternoon|evening|week|weekend|month|year|season|time)"
    r"|(?:next|last) (?:week|weekend|month|year|night|time|monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
    r"|ago|so far|at the moment|right away|weather|forecast|rain(?:ing)?|snow(?:ing)?|news|headlines"
    r"|stock|stocks|shares|exchange rate|score|scores|traffic|what time is it|the time|what(?:'s| is) the date|what day"
    r"|who(?:'s| is) (?:the )?(?:president|prime minister|chancellor|king|queen|ceo|mayor)"
    r"|here|nearby|near me|around me|closest|nearest|where am i|joke|riddle|story|poem|surprise|random|randomly|another"
    r"|again|else|guess|flip|roll|dice|how are you|good (?:morning|afternoon|evening|night))\b"
    r"|今天|今晚|今早|今年|今日|明天|明年|明早|昨天|昨晚|去年|前天|后天|现在|目前|当前|现任|最新|最近|近来|刚才|刚刚|马上就|这周|这个?月"
    r"|本周|本月|下周|下个?月|上周|上个?月|周末|几点了|什么时间了|星期几|周几|几月几|几号|天气|气温|下雨|下雪|新闻|股价|股票|汇率|比分|路况"
    r"|堵车|这里|这儿|附近|周围|最近的|我在哪|笑话|谜语|故事|诗|惊喜|随机|随便|再来|再说|另一个|还有别的|换一个|猜|掷|早上好|上午好|下午好|晚上好|晚安",
    re.IGNORECASE,
)

_NOTHING = Message("system", "")
Private = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose answers: `tenant` is the API key's name; `place` stands for the instructions and all else that an answer
    goes by. Answers of one scope are never given in another."""

    tenant: str
    place: str


@dataclass(frozen=True, slots=True)
class Question:
    """`key` is the same for all wordings that certainly ask the same."""

    scope: Scope
    key: str


def is_personal(text: str) -> bool:
    """Whether the text holds personal data, or speaks of the speaker."""
    return bool(_PERSONAL.search(text)) or bool(find(text))


def question_of(request: LlmRequest, private: Private = is_personal) -> Question | Skip:
    """The question whose answer may be kept, or why it may not."""
    if request.tools:
        return "tools"
    *before, last = request.messages or (_NOTHING,)
    if last.role != "user" or any(message.role != "system" for message in before):
        return "context"
    caller = request.caller
    if not caller.alone and caller.session:  # who is not in a talk has only this one question
        return "context"
    if len(last.content) > MOST_CHARS or not (plain := common_wording(last.content)):
        return "length"
    if _CHANGING.search(last.content) or _CHANGING.search(plain):
        return "time"
    if private(last.content):
        return "personal"
    told = [message.content for message in before]
    place = repr((told, caller.language, request.max_tokens, request.effort))
    return Question(Scope(caller.tenant, _digest(place)), _digest(plain))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
