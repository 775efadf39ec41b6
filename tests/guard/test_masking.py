"""Personal data: what is found, what is left alone, and that it comes back."""

import asyncio
import json
import re
from contextlib import aclosing
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from tests.gateway.test_budgets import ANNA, answered, ask, metered
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.guard.masking import MaskedLlm, Unmasker, Vault, Vaults
from voiceagent.guard.personal_data import find, is_chinese_id
from voiceagent.llm.base import LlmRequest, Message, ToolCall

CARD = "4111 1111 1111 1111"


def found(text: str) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in find(text)]


# -- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "data"),
    [
        (f"My card is {CARD}, thanks.", "CARD", CARD),
        (f"{CARD} 123", "CARD", CARD),
        (f"expires 2027 {CARD}", "CARD", CARD),
        ("4111-1111-1111-1111.", "CARD", "4111-1111-1111-1111"),
        ("5555555555554444", "CARD", "5555555555554444"),
        ("amex 3782 822463 10005", "CARD", "3782 822463 10005"),
        ("卡号是6222021234567890128吧", "CARD", "6222021234567890128"),
        ("卡号４１１１１１１１１１１１１１１１", "CARD", "４１１１１１１１１１１１１１１１"),
        ("我的手机是13800138000，谢谢", "PHONE", "13800138000"),
        ("打+86 138 0013 8000", "PHONE", "+86 138 0013 8000"),
        ("座机010-62781234", "PHONE", "010-62781234"),
        ("Call (415) 555-2671 now", "PHONE", "(415) 555-2671"),
        ("415-555-2671", "PHONE", "415-555-2671"),
        ("It is +1 415.555.2671.", "PHONE", "+1 415.555.2671"),
        ("+44 20 7946 0958 please", "PHONE", "+44 20 7946 0958"),
        ("ring 07700 900123", "PHONE", "07700 900123"),
        ("+49 (0)30 901820", "PHONE", "+49 (0)30 901820"),
        ("身份证11010519491231002X。", "ID", "11010519491231002X"),
        ("身份证号110105 1949 12 31 002x", "ID", "110105 1949 12 31 002x"),
        ("My SSN is 078-05-1120.", "SSN", "078-05-1120"),
        ("my social security number is 078051120", "SSN", "078051120"),
        ("mail zhang.san+work@example.com.cn please", "EMAIL", "zhang.san+work@example.com.cn"),
        ("邮箱是zhang@qq.com谢谢", "EMAIL", "zhang@qq.com"),
        ("four one one one, one one one one, one one one one, one one one one", "CARD", None),
        ("four triple one one one one one one one one one one one one one", "CARD", None),
        (
            "it's four one five five five five two six seven one",
            "PHONE",
            "four one five five five five two six seven one",
        ),
        ("4 1 5 5 5 5 2 6 7 1", "PHONE", "4 1 5 5 5 5 2 6 7 1"),
        ("我的号码是一三八零零一三八零零零", "PHONE", "一三八零零一三八零零零"),
        ("幺三八，零零幺三，八零零零", "PHONE", "幺三八，零零幺三，八零零零"),
        ("一一零一零五一九四九一二三一零零二X", "ID", "一一零一零五一九四九一二三一零零二X"),
    ],
)
def test_personal_data_is_found(text: str, kind: str, data: str | None) -> None:
    assert found(text) == [(kind, text if data is None else data)]


@pytest.mark.parametrize(
    "text",
    [
        "In 1984, 2001 and 2024.",
        "the years 2019 2020 2021 2022",
        "from 2024-01-15 to 2024-02-15 at 12:30",
        "2024-05-06T12:30:00Z",
        "It costs $1,234,567.89 or 1 300 000 yuan.",
        "3.14159265358979 and 2.7182818284590452",
        "100 200 300 400 500 600",
        "一九八四年，二零二四年十二月三十一日",
        "人口是14亿1178万人，占百分之十七点五",
        "one two three four five six seven eight nine ten",
        "The server is 192.168.100.200, port 8080.",
        "550e8400-e29b-41d4-a716-446655440000",
        "order 20240115123456, flight MU5101, room 1204",
        "timestamps 1700000000 and 1700000000000",
        "4111 1111 1111 1112",
        "110105194912310021",
        "000-12-3456 and 666-12-3456",
        "call 911, 110 or 12345",
        "me@home, @anna and a@b",
        "9 out of 10 in 2 to 3 weeks",
        "a1234567890123456",
    ],
)
def test_ordinary_numbers_are_left_alone(text: str) -> None:
    assert found(text) == []


@given(
    st.lists(
        st.one_of(
            st.integers(0, 999_999).map(str),
            st.integers(1000, 2999).map(lambda year: f"in {year}"),
            st.floats(0, 99_999_999, allow_nan=False).map(lambda price: f"${price:,.2f}"),
            st.integers(1000, 10**12).map(lambda number: f"{number:,}"),
            st.dates(date(1900, 1, 1)).map(str),
            st.dates(date(1900, 1, 1)).map(lambda day: day.strftime("%d-%m-%Y")),
            st.times().map(lambda time: time.strftime("%H:%M")),
            st.integers(0, 100).map(lambda share: f"{share}%"),
            st.integers(1, 9999).map(lambda price: f"{price}元"),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_no_list_of_ordinary_numbers_is_taken_for_data(numbers: list[str]) -> None:
    assert found(", ".join(numbers)) == []


@given(st.text(alphabet="0123456789", min_size=12, max_size=18))
def test_luhn_catches_any_wrong_digit(digits: str) -> None:
    checks = [check for check in "0123456789" if luhn.is_valid(digits + check)]
    assert len(checks) == 1
    whole = digits + checks[0]
    wrong = whole[:5] + str((int(whole[5]) + 1) % 10) + whole[6:]
    assert luhn.is_valid(whole)
    assert not luhn.is_valid(wrong)


@given(st.dates(), st.integers(110000, 659999), st.integers(0, 999))
def test_one_check_character_fits_an_identity_number(born: object, region: int, serial: int) -> None:
    head = f"{region}{str(born).replace('-', '')}{serial:03}"
    fits = [check for check in "0123456789X" if is_chinese_id(head + check)]
    assert len(fits) == (1 if "1850" <= str(born)[:4] <= "2100" else 0)


@given(st.text(max_size=200))
def test_any_text_may_be_looked_through(text: str) -> None:
    for one in find(text):
        assert 0 <= one.start < one.end <= len(text)


# -- that it comes back -----------------------------------------------------------------------------------------------

DATA = st.sampled_from(
    [CARD, "13800138000", "11010519491231002X", "078-05-1120", "a.b@example.org", "[CARD_1]", "[TEXT_1]", "[PHONE_2"]
)
WORDS = st.one_of(DATA, st.sampled_from([" and ", "是", "。", "[", "]", " in 2024 ", "\n", "[CARD", "_1]"]))


@given(st.lists(WORDS, max_size=12), st.lists(st.integers(1, 7), min_size=1, max_size=40))
def test_what_is_masked_comes_back_however_it_is_cut(parts: list[str], cuts: list[int]) -> None:
    text = " ".join(parts)
    vault = Vault()
    masked = vault.mask(text)
    assert all(data not in masked for data in (CARD, "13800138000", "11010519491231002X", "a.b@example.org"))
    unmasker = Unmasker(vault)
    out, at, number = "", 0, 0
    while at < len(masked):
        size = cuts[number % len(cuts)]
        out += unmasker.push(masked[at : at + size])
        at, number = at + size, number + 1
    assert out + unmasker.finish() == text


@given(st.text(max_size=80), st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_text_without_placeholders_passes_unchanged(text: str, cuts: list[int]) -> None:
    vault = Vault()
    vault.mask(CARD)
    unmasker = Unmasker(vault)
    out, at, number = "", 0, 0
    while at < len(text):
        size = cuts[number % len(cuts)]
        out += unmasker.push(text[at : at + size])
        at, number = at + size, number + 1
    assert out + unmasker.finish() == vault.unmask(text)


def test_placeholders_are_stable_and_number_each_kind() -> None:
    vault = Vault()
    assert vault.mask(f"{CARD} or 5555555555554444, call 13800138000") == "[CARD_1] or [CARD_2], call [PHONE_1]"
    assert vault.mask("again 4111111111111111") == "again [CARD_1]"
    assert vault.unmask("[CARD_1] [CARD_7]") == f"{CARD} [CARD_7]"


def test_text_is_held_back_only_while_it_may_be_a_placeholder() -> None:
    vault = Vault()
    vault.mask(CARD)
    unmasker = Unmasker(vault)
    assert unmasker.push("See [the note") == "See [the note"
    assert unmasker.push(" [CA") == " "
    assert unmasker.push("RD_") == ""
    assert unmasker.push("1] ok [CARDINAL") == f"{CARD} ok [CARDINAL"
    assert unmasker.push("[CARD_") == ""
    assert unmasker.finish() == "[CARD_"


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.text(max_size=10), DATA),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=8,
    )
)
def test_arguments_stay_json(value: object) -> None:
    vault = Vault()
    masked = vault.mask_json(json.dumps(value))
    json.loads(masked)
    assert CARD not in masked
    back = json.loads(vault.unmask_json(masked))
    assert back == value or re.search(r"\d{8}", json.dumps(value))  # a number that was data comes back as text


def test_arguments_that_are_no_json_are_masked_as_they_stand() -> None:
    assert Vault().mask_json(f'{{"card": "{CARD}') == '{"card": "[CARD_1]'
    assert Vault().mask_json("[" * 100_000).startswith("[[[")


# -- around a model ---------------------------------------------------------------------------------------------------


async def test_the_model_sees_placeholders_and_the_user_hears_the_data() -> None:
    reply = Reply(["Your card [", "CAR", "D_1", "] and [", "PHONE_1] are noted", ". [x]"])
    async with ScriptedLlm([reply]) as server:
        engine = MaskedLlm(metered(server))
        await engine.open()
        words = f"My card is {CARD}, my phone 13800138000."
        request = LlmRequest((Message("system", "Be kind."), Message("user", words)), caller=ANNA)
        text, end = await answered(engine, request)
        await engine.close()
    assert text == f"Your card {CARD} and 13800138000 are noted. [x]"
    assert end.endpoint == "dear"
    sent = server.requests[0].messages
    assert sent[1]["content"] == "My card is [CARD_1], my phone [PHONE_1]."
    assert sent[0]["content"].startswith("Be kind.\n\nPersonal data is hidden")
    assert "4111" not in json.dumps(server.requests[0].body)


async def test_tool_calls_are_unmasked_and_their_history_is_masked_again() -> None:
    first = Reply(["One moment"], calls=[("pay", '{"card": "[CARD_1]", "mail": "[EMAIL_1]"}')])
    async with ScriptedLlm([first, Reply("Done.")]) as server:
        engine = MaskedLlm(metered(server), note="")
        await engine.open()
        talk: tuple[Message, ...] = (Message("user", f"Pay with {CARD}, mail a.b@example.org"),)
        async with aclosing(engine.reply(LlmRequest(talk, caller=ANNA))) as events:
            calls = [event async for event in events if isinstance(event, ToolCall)]
        assert json.loads(calls[0].arguments) == {"card": CARD, "mail": "a.b@example.org"}
        talk += (
            Message("assistant", "One moment", tool_calls=tuple(calls)),
            Message("tool", json.dumps({"paid": True, "card": 4111111111111111}), tool_call_id=calls[0].id),
        )
        await answered(engine, LlmRequest(talk, caller=ANNA))
        await engine.close()
    body = json.dumps(server.requests[1].body)
    assert "4111" not in body
    assert "example.org" not in body
    assert body.count("[CARD_1]") == 3


async def test_sessions_do_not_see_each_others_data_and_ordinary_talk_is_not_touched() -> None:
    async with ScriptedLlm(["It is [CARD_1]."]) as server:
        engine = MaskedLlm(metered(server))
        await engine.open()
        assert (await answered(engine, ask(f"Card {CARD}")))[0] == f"It is {CARD}."
        assert (await answered(engine, ask("And now?")))[0] == f"It is {CARD}."
        assert (await answered(engine, ask("And now?", replace(ANNA, session="s2"))))[0] == "It is [CARD_1]."
        assert (await answered(engine, ask("And now?", replace(ANNA, tenant="tom"))))[0] == "It is [CARD_1]."
        assert (await answered(engine, ask("And now?", replace(ANNA, session=""))))[0] == "It is [CARD_1]."
        await engine.close()
    assert server.requests[1].messages == [{"role": "user", "content": "And now?"}]


@pytest.mark.looptime
async def test_the_memory_of_sessions_is_bounded() -> None:
    vaults = Vaults(sessions=3)
    for number in range(10):
        vaults.of("anna", f"s{number}").mask(CARD)
    assert len(vaults) == 3
    assert len(vaults.of("anna", "s9")) == 1
    await asyncio.sleep(3601)
    assert len(vaults.of("anna", "s9")) == 1
    assert len(vaults) == 1
