"""Token buckets, the queue before an endpoint, and the estimate of tokens."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceagent.errors import EngineError
from voiceagent.llm.base import Caller, Completed, LlmRequest, Message, ToolCall, ToolSpec
from voiceagent.llm.failover.limits.buckets import Limit, Limits, LimitSettings, LocalBucket
from voiceagent.llm.failover.limits.gates import Gates, LimitedGate
from voiceagent.llm.failover.limits.queue import FairQueue, Priority, Ticket, priority_of
from voiceagent.llm.failover.limits.tokens import prompt_tokens, request_tokens, text_tokens

ANNA = Caller(session="s1", tenant="anna")
TOM = Caller(session="s2", tenant="tom")


def gate(rpm: int | None = None, tpm: int | None = None, burst: float = 0.2, **settings: object) -> LimitedGate:
    return LimitedGate("there", Limits.a_minute(rpm, tpm, burst), LimitSettings.model_validate(settings))


# -- buckets ----------------------------------------------------------------------------------------------------------


@given(
    count=st.integers(1, 200),
    burst=st.floats(0.01, 1.0),
    gaps=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=400),
)
@settings(max_examples=60)
def test_no_window_ever_sees_more_requests_than_the_limit(count: int, burst: float, gaps: list[float]) -> None:
    now = 0.0
    bucket = LocalBucket(Limits(requests=Limit(count, burst)), clock=lambda: now)
    went: list[float] = []
    for gap in gaps:
        now += gap
        while _take(bucket, 1) == 0:
            went.append(now)
    for first, at in enumerate(went):
        assert sum(1 for other in went[first:] if other <= at + 60.0) <= count


@given(
    limit=st.integers(100, 100_000),
    burst=st.floats(0.05, 1.0),
    asks=st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(1, 20_000)), min_size=1, max_size=200),
)
@settings(max_examples=60)
def test_no_window_sees_more_tokens_than_the_limit_and_one_too_great_request(
    limit: int, burst: float, asks: list[tuple[float, int]]
) -> None:
    now = 0.0
    bucket = LocalBucket(Limits(tokens=Limit(limit, burst)), clock=lambda: now)
    went: list[tuple[float, int]] = []
    for gap, tokens in asks:
        now += gap
        if _take(bucket, tokens) == 0:
            went.append((now, tokens))
    over = max((tokens - Limit(limit, burst).capacity for _, tokens in went), default=0)
    for first, (at, _) in enumerate(went):
        assert sum(tokens for other, tokens in went[first:] if other <= at + 60.0) <= limit + max(0.0, over) + 1


@given(count=st.integers(1, 500), burst=st.floats(0.01, 1.0), tokens=st.integers(1, 2000))
def test_the_wait_that_is_told_is_enough(count: int, burst: float, tokens: int) -> None:
    now = 0.0
    limits = Limits(Limit(count, burst), Limit(count * 10, burst))
    bucket = LocalBucket(limits, clock=lambda: now)
    for _ in range(5):
        now += _take(bucket, tokens)
        wait = _take(bucket, tokens)
        if wait:
            now += wait
            assert _take(bucket, tokens) == 0


def test_what_was_not_used_comes_back_and_what_was_used_beyond_is_owed() -> None:
    now = 0.0
    bucket = LocalBucket(Limits(tokens=Limit(6000, 0.5)), clock=lambda: now)
    assert _take(bucket, 3000) == 0
    assert bucket.headroom == 0
    bucket.correct(-1500)
    assert bucket.headroom == pytest.approx(0.5)
    bucket.correct(4500)
    assert bucket.headroom == 0
    assert _take(bucket, 1) == pytest.approx(3001 / Limit(6000, 0.5).rate)
    bucket.correct(-100_000)
    assert bucket.headroom == 1


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    now = 100.0
    bucket = LocalBucket(Limits(requests=Limit(1, 1.0)), clock=lambda: now)
    assert _take(bucket, 1) == 0
    now = 50.0
    assert _take(bucket, 1) > 60


def _take(bucket: LocalBucket, tokens: int) -> float:
    """A local bucket never really waits."""
    taking = bucket.take(tokens)
    with pytest.raises(StopIteration) as done:
        taking.send(None)
    return float(done.value.value)


# -- the queue --------------------------------------------------------------------------------------------------------


def served(queue: FairQueue, count: int) -> list[str]:
    out = []
    for _ in range(count):
        head = queue.head
        assert head is not None
        queue.serve(head)
        out.append(head.tenant)
    return out


def test_tenants_share_by_weight_whatever_each_asks_for() -> None:
    queue = FairQueue(1000, {"big": 2.0})
    for _ in range(300):
        queue.add(Ticket(Priority.LIVE, "greedy", 1.0))
    for _ in range(40):
        queue.add(Ticket(Priority.LIVE, "small", 1.0))
    for _ in range(80):
        queue.add(Ticket(Priority.LIVE, "big", 1.0))
    first = served(queue, 120)
    assert 29 <= first.count("greedy") <= 31
    assert 29 <= first.count("small") <= 31
    assert 59 <= first.count("big") <= 61


def test_long_requests_count_for_more() -> None:
    queue = FairQueue(1000, {})
    for _ in range(100):
        queue.add(Ticket(Priority.LIVE, "long", 3.0))
        queue.add(Ticket(Priority.LIVE, "short", 1.0))
    first = served(queue, 80)
    assert 19 <= first.count("long") <= 21


def test_one_that_comes_late_neither_waits_for_all_nor_catches_up() -> None:
    queue = FairQueue(1000, {})
    for _ in range(100):
        queue.add(Ticket(Priority.LIVE, "early", 1.0))
    served(queue, 50)
    for _ in range(40):
        queue.add(Ticket(Priority.LIVE, "late", 1.0))
    first = served(queue, 20)
    assert 9 <= first.count("late") <= 11


def test_priorities_go_first_to_last() -> None:
    queue = FairQueue(10, {})
    for priority in (Priority.BACKGROUND, Priority.LIVE, Priority.SPECULATIVE):
        queue.add(Ticket(priority, priority.name, 1.0))
    assert served(queue, 3) == ["LIVE", "SPECULATIVE", "BACKGROUND"]
    assert priority_of(ANNA) is Priority.LIVE
    assert priority_of(Caller(session="s", speculative=True)) is Priority.SPECULATIVE
    assert priority_of(Caller(tenant="anna")) is Priority.BACKGROUND


def test_a_full_queue_drops_the_newest_of_the_longest_line_in_the_last_priority() -> None:
    queue = FairQueue(4, {})
    background = [Ticket(Priority.BACKGROUND, "crawler", 1.0) for _ in range(2)]
    greedy = [Ticket(Priority.LIVE, "greedy", 1.0) for _ in range(4)]
    for ticket in (*background, *greedy[:2]):
        assert queue.add(ticket) is None
    assert queue.add(greedy[2]) is background[1]
    assert queue.add(greedy[3]) is background[0]
    another = Ticket(Priority.LIVE, "greedy", 1.0)
    assert queue.add(another) is another
    assert queue.add(Ticket(Priority.LIVE, "small", 1.0)) is greedy[3]
    late = Ticket(Priority.SPECULATIVE, "small", 1.0)
    assert queue.add(late) is late
    assert len(queue) == 4


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(list(Priority)), st.sampled_from(["add", "serve", "remove"])),
        max_size=200,
    )
)
def test_the_queue_never_holds_more_than_its_places_nor_forgets_one(
    steps: list[tuple[str, Priority, str]],
) -> None:
    queue = FairQueue(7, {"a": 3.0})
    waiting: list[Ticket] = []
    for tenant, priority, step in steps:
        if step == "add":
            ticket = Ticket(priority, tenant, 1.0)
            waiting.append(ticket)
            if (dropped := queue.add(ticket)) is not None:
                waiting.remove(dropped)
        elif step == "serve" and (head := queue.head) is not None:
            assert head.priority is min(ticket.priority for ticket in waiting)
            queue.serve(head)
            waiting.remove(head)
        elif waiting:
            queue.remove(waiting.pop(len(waiting) // 2))
        assert len(queue) == len(waiting) <= 7
        assert (queue.head is None) == (not waiting)


# -- the gate ---------------------------------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_who_comes_too_early_waits_instead_of_being_refused() -> None:
    loop = asyncio.get_running_loop()
    there = gate(rpm=60, burst=0.1)
    went: list[float] = []

    async def ask() -> None:
        await there.enter(100, ANNA, 20.0)
        went.append(loop.time())

    await asyncio.gather(*(ask() for _ in range(20)))
    assert went[5] == pytest.approx(went[0])
    assert all(0.9 / Limit(60, 0.1).rate < later - sooner < 1.2 for sooner, later in pairwise(went[6:]))
    assert there.waiting == 0


@pytest.mark.looptime
async def test_a_live_turn_goes_before_a_speculative_one_before_the_background() -> None:
    there = gate(rpm=10, burst=0.1)
    await there.enter(1, ANNA, 1.0)
    order: list[str] = []

    async def ask(name: str, caller: Caller) -> None:
        await there.enter(1, caller, 60.0)
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask("background", Caller(tenant="anna")))
        tasks.create_task(ask("speculative", Caller(session="s", speculative=True)))
        await asyncio.sleep(1.0)
        tasks.create_task(ask("live", ANNA))
    assert order == ["live", "speculative", "background"]


@pytest.mark.looptime
async def test_a_turn_that_cannot_come_in_time_is_refused_at_once() -> None:
    loop = asyncio.get_running_loop()
    there = gate(rpm=10, burst=0.1)
    await there.enter(1, ANNA, 0.0)
    began = loop.time()
    with pytest.raises(EngineError, match="endpoint there") as refused:
        await there.enter(1, ANNA, 2.0)
    assert refused.value.code == "rate_limited"
    assert loop.time() == began
    first = asyncio.create_task(there.enter(1, ANNA, 10.0))
    await asyncio.sleep(0.1)
    with pytest.raises(EngineError):
        await there.enter(1, ANNA, 3.0)
    assert loop.time() == pytest.approx(began + 3.1, abs=0.01)
    await first


@pytest.mark.looptime
async def test_one_that_gives_up_leaves_its_place_to_the_next() -> None:
    loop = asyncio.get_running_loop()
    there = gate(rpm=10, burst=0.1)
    await there.enter(1, ANNA, 0.0)
    first = asyncio.create_task(there.enter(1, ANNA, 60.0))
    second = asyncio.create_task(there.enter(1, TOM, 60.0))
    await asyncio.sleep(1.0)
    first.cancel()
    await second
    assert loop.time() < 7.0
    assert first.cancelled()
    assert there.waiting == 0


@pytest.mark.looptime
async def test_a_full_gate_refuses_and_says_so_to_the_one_it_drops() -> None:
    there = gate(rpm=10, burst=0.1, waiting=2)
    await there.enter(1, ANNA, 0.0)
    greedy = [asyncio.create_task(there.enter(1, ANNA, 60.0)) for _ in range(2)]
    await asyncio.sleep(0.1)
    small = asyncio.create_task(there.enter(1, TOM, 60.0))
    with pytest.raises(EngineError, match="queue is full"):
        await greedy[1]
    with pytest.raises(EngineError, match="queue is full"):
        await there.enter(1, Caller(), 60.0)
    await asyncio.gather(greedy[0], small)


@pytest.mark.looptime
async def test_a_pass_settles_with_what_was_really_used() -> None:
    there = gate(tpm=1000, burst=1.0)
    entered = await there.enter(800, ANNA, 0.0)
    assert there.headroom == pytest.approx(0.2)
    entered.settle(Completed(input_tokens=200, output_tokens=100))
    entered.settle(Completed(input_tokens=1, output_tokens=1))
    assert there.headroom == pytest.approx(0.7)
    failed = await there.enter(300, ANNA, 0.0)
    failed.settle(None)
    silent = await there.enter(300, ANNA, 0.0)
    silent.settle(Completed())
    assert there.headroom == pytest.approx(0.1)


@pytest.mark.looptime
async def test_without_limits_all_may_enter() -> None:
    gates = Gates(LimitSettings())
    there = gates.gate("there", None, 0)
    for _ in range(100):
        (await there.enter(10**6, ANNA, 0.0)).settle(None)
    assert there.headroom == 1
    await gates.close()


@pytest.mark.looptime
async def test_a_crowd_of_tenants_gets_equal_shares_and_no_window_is_overrun() -> None:
    loop = asyncio.get_running_loop()
    there = gate(rpm=120, tpm=100_000, burst=0.2)
    went: list[tuple[float, str]] = []

    async def talk(tenant: str, number: int) -> None:
        caller = Caller(session=f"{tenant}{number}", tenant=tenant)
        while loop.time() < 240.0:
            try:
                (await there.enter(500, caller, 5.0)).settle(Completed(input_tokens=400, output_tokens=50))
                went.append((loop.time(), tenant))
            except EngineError:
                await asyncio.sleep(0.3)

    talkers = [("a", 40), ("b", 10), ("c", 20)]
    await asyncio.gather(*(talk(tenant, number) for tenant, count in talkers for number in range(count)))
    crowded = [tenant for at, tenant in went if at > 30.0]  # the burst before went to who came first
    shares = [crowded.count(name) for name, _ in talkers]
    assert max(shares) <= 1.1 * min(shares)
    assert all(sum(1 for other, _ in went if at <= other <= at + 60) <= 120 for at, _ in went)


# -- the estimate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("Hey, could you tell me what the weather's going to be like in San Francisco tomorrow?", 18),
        ("The asynchronous authentication middleware misconfigured its exponential backoff parameters.", 11),
        ("你好，请问明天北京的天气怎么样？我想去公园散步，但是不想被雨淋湿。", 27),
        ("帮我book一个明天下午3:30的meeting，主题是Q3 budget review，参加的人有Anna和王伟。", 28),
        ('{"type":"object","properties":{"city":{"type":"string","description":"Name of the city"}}}', 20),
    ],
)
def test_the_estimate_is_near(text: str, truth: int) -> None:
    """The truth is o200k's count."""
    assert 0.9 * truth <= text_tokens(text) <= 1.6 * truth


@given(st.text(max_size=300))
def test_any_text_has_an_estimate(text: str) -> None:
    assert 0 <= text_tokens(text) <= len(text)


def test_a_request_is_its_messages_its_tools_and_an_answer() -> None:
    plain = LlmRequest((Message("user", "What is the time?"),))
    tool = ToolSpec("clock", "Tells the time", {"type": "object", "properties": {"zone": {"type": "string"}}})
    call = Message("assistant", "", (ToolCall("1", "clock", '{"zone": "Asia/Shanghai"}'),))
    rich = LlmRequest((*plain.messages, call), tools=(tool,), max_tokens=20)
    assert prompt_tokens(rich) > prompt_tokens(plain) + 25
    assert request_tokens(plain, 100) == prompt_tokens(plain) + 100
    assert request_tokens(rich, 100) == prompt_tokens(rich) + 20
