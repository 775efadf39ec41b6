"""Items, typed replies, reports of what was played, and what is remembered of it: in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.session.bench import Answer, bench
from voiceagent.errors import EngineError, Refused
from voiceagent.llm.base import Completed
from voiceagent.memory.base import Entry
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import (
    MAX_CHARS,
    MAX_ITEM_CHARS,
    MAX_ITEMS,
    Conversation,
    Item,
    ItemRole,
    Part,
    size,
)
from voiceagent.session.options import SessionOptions

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

LONG = (
    "The moon goes around the earth. It takes about a month for one round. It has no air and no water to speak of. "
    "People have walked on it twelve times so far."
)


def typed(item_id: str, text: str, role: ItemRole = "user") -> Item:
    return Item(item_id, role, (Part("text", text),))


class Notes:
    """A memory that keeps everything it is told, in order."""

    def __init__(self) -> None:
        self.told: list[Entry] = []
        self.recalled: list[str] = []
        self.owners: list[str] = []
        """The users they were told of, each once."""

    async def open(self) -> None: ...

    async def recall(self, user: str, limit: int) -> list[Entry]:
        self.recalled.append(user)
        return []

    async def remember(self, user: str, entry: Entry) -> None:
        await asyncio.sleep(0.001)
        self.told.append(entry)
        if user not in self.owners:
            self.owners.append(user)

    async def users(self) -> list[tuple[str, int, float]]:
        return []

    async def forget(self, user: str) -> int:
        return 0

    async def close(self) -> None: ...

    def now(self) -> dict[str, str]:
        """The text of each item as last told; an empty one is no more."""
        latest = {entry.item_id: entry.text for entry in self.told}
        return {item_id: text for item_id, text in latest.items() if text}


# -- items ------------------------------------------------------------------------------------------------------------


async def test_items_are_put_where_the_client_wants_them() -> None:
    async with bench("Yes.", microphone=False) as client:
        client.ask(cmd.CreateItem(typed("b", "Second.")))
        client.ask(cmd.CreateItem(typed("a", "First.", "system"), "root"))
        client.ask(cmd.CreateItem(typed("d", "Fourth.")))
        client.ask(cmd.CreateItem(typed("c", "Third.", "assistant"), "b"))
        assert [added.previous_item_id for added in client.of(ev.ItemAdded)] == [None, None, "b", "b"]
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone)
        assert [text for _, text in client.model.prompt()] == ["Be brief.", "First.", "Second.", "Third.", "Fourth."]


async def test_unknown_items_are_refused_and_change_nothing() -> None:
    async with bench("Yes.", microphone=False) as client:
        client.ask(cmd.CreateItem(typed("a", "Hello.")))
        told = len(client.events)
        for command, code in (
            (cmd.CreateItem(typed("a", "Again.")), "item_create_duplicate_item_id"),
            (cmd.CreateItem(typed("b", "x"), "nowhere"), "item_create_invalid_previous_item_id"),
            (cmd.RetrieveItem("b"), "item_retrieve_invalid_item_id"),
            (cmd.DeleteItem("b"), "item_delete_invalid_item_id"),
            (cmd.TruncateItem("b", 0), "item_truncate_invalid_item_id"),
        ):
            with pytest.raises(Refused) as refused:
                client.ask(command)
            assert refused.value.code == code
        assert len(client.events) == told
        assert client.item("a").text == "Hello."


async def test_a_deleted_turn_is_gone_from_the_prompt() -> None:
    async with bench("Yes.", words=["Secret.", "Next."]) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        client.ask(cmd.DeleteItem(client.of(ev.AudioCommitted)[0].item_id))
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert "Secret" not in str(client.model.prompt())


async def test_deleting_what_is_just_being_said_or_understood_harms_nobody() -> None:
    async with bench(LONG, words=["One.", "Two."]) as client:
        speaking = asyncio.create_task(client.say(1.0))
        committed = await client.until(ev.AudioCommitted)
        client.ask(cmd.DeleteItem(committed.item_id))
        await speaking
        await client.until(ev.ResponseAudio, 5)
        client.ask(cmd.DeleteItem(client.of(ev.ResponseItemAdded)[0].item.id))
        assert (await client.until(ev.ResponseDone)).status == "completed"
        client.ask(cmd.CreateItem(typed("x", "Still there?")))
        assert client.of(ev.ItemAdded)[-1].previous_item_id is None


async def test_a_conversation_that_is_full_lets_the_oldest_go() -> None:
    async with bench("Yes.", microphone=False) as client:
        for number in range(MAX_ITEMS + 50):
            client.ask(cmd.CreateItem(typed(f"i{number}", "x")))
        with pytest.raises(Refused):
            client.ask(cmd.RetrieveItem("i49"))
        assert client.item("i50").text == "x"
        client.ask(cmd.CreateItem(typed("first", "x"), "root"))
        client.ask(cmd.CreateItem(typed("after", "x"), "i60"))
        assert client.of(ev.ItemAdded)[-1].previous_item_id == "i60"
        client.ask(cmd.CreateResponse())
        assert (await client.until(ev.ResponseDone)).status == "completed"


def test_a_conversation_holds_so_much_text_and_no_more() -> None:
    conversation = Conversation()
    with pytest.raises(Refused) as refused:
        conversation.add(typed("big", "x" * (MAX_ITEM_CHARS + 1)))
    assert refused.value.code == "string_above_max_length"
    for number in range(30):
        conversation.add(typed(f"i{number}", "x" * MAX_ITEM_CHARS))
        assert sum(size(item) for item in conversation.items) <= MAX_CHARS
    assert conversation.items[-1].id == "i29"
    conversation.set_text("i29", "short")
    for number in range(30):
        conversation.add(typed(f"s{number}", "x"))
    assert conversation.items[-1].id == "s29"
    assert len(conversation.items) > 30


# -- replies of other kinds -------------------------------------------------------------------------------------------


async def test_a_typed_answer_makes_no_sound() -> None:
    async with bench(LONG, options=SessionOptions(modality="text"), microphone=False) as client:
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert done.item is not None
        assert done.item.parts == (Part("text", LONG + " "),)
        assert client.text() == LONG + " "
        assert not client.of(ev.ResponseAudio)
        assert not client.voice.spoken


async def test_one_answer_may_be_typed_in_a_spoken_talk() -> None:
    async with bench("One.", microphone=False) as client:
        client.ask(cmd.CreateResponse(modality="text", instructions="Shout.", max_output_tokens=5, metadata={"a": "b"}))
        await client.until(ev.ResponsePlayed)
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone, 2)
        assert [started.modality for started in client.of(ev.ResponseStarted)] == ["text", "audio"]
        assert client.of(ev.ResponseStarted)[0].metadata == {"a": "b"}
        assert client.model.requests[0].max_tokens == 5
        assert client.model.requests[1].max_tokens is None
        assert client.model.prompt(0)[0][1] == "Shout."
        assert client.model.prompt(1)[0][1] == "Be brief."


@pytest.mark.parametrize(("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_was_cut_off_is_incomplete(reason: str, told: str) -> None:
    end = Completed(reason=reason)  # type: ignore[arg-type]
    async with bench(Answer("It goes on and", end=end), microphone=False) as client:
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.reason) == ("incomplete", told)
        assert done.item is not None
        assert done.item.status == "incomplete"
        assert done.item.text == "It goes on and "
        assert client.text() == done.item.text


async def test_an_answer_out_of_band_leaves_no_trace_and_sees_only_its_input() -> None:
    async with bench("A summary.", "Next.", microphone=False) as client:
        client.ask(cmd.CreateItem(typed("a", "Hello.")))
        client.ask(cmd.CreateResponse(store=False, input=(typed("", "Summarise: foo."),)))
        done = await client.until(ev.ResponseDone)
        assert done.item is not None
        assert client.model.prompt()[1:] == [("user", "Summarise: foo.")]
        await client.until(ev.ResponsePlayed)
        with pytest.raises(Refused):
            client.item(done.item.id)
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone, 2)
        assert client.model.prompt()[1:] == [("user", "Hello.")]


@pytest.mark.parametrize("text", ["Hello. ...", "Yes! 😀 🎉", "Fine. (", "Look. ```code```"])
async def test_the_text_told_on_the_way_is_the_text_in_the_end(text: str) -> None:
    """Also where there is nothing to say in a part of it."""
    async with bench(text, microphone=False) as client:
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert done.item is not None
        assert client.text() == done.item.text == text + " "


@pytest.mark.parametrize("clause", [0, 2])
async def test_the_text_of_a_clause_without_sound_is_told_all_the_same(clause: int) -> None:
    async with bench("Short one. Another short one. And the third of them.", microphone=False) as client:
        client.voice.mute_at = clause
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert done.item is not None
        assert len(client.voice.spoken) == 3
        assert client.text() == done.item.text


# -- when engines fail ------------------------------------------------------------------------------------------------


async def test_what_was_said_before_a_failure_stays_said() -> None:
    answer = Answer("This was said. And this is cut", end=EngineError("llm", "unavailable", "gone"))
    async with bench(answer, "Better.") as client:
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.error_code) == ("failed", "llm_unavailable")
        assert done.item is not None
        assert done.item.text == "This was said. Sorry."
        assert (client.audio()[-12_000:] == 77).all()
        await client.until(ev.ResponsePlayed)
        await client.turn()
        assert (await client.until(ev.ResponseDone, 2)).status == "completed"


@pytest.mark.parametrize("clause", [0, 1])
async def test_a_voice_that_fails_is_apologised_for(clause: int) -> None:
    async with bench(LONG, "Better.") as client:
        client.voice.fail_at = clause
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.error_code) == ("failed", "tts_unavailable")
        assert (client.audio()[-12_000:] == 77).all()
        await client.until(ev.ResponsePlayed)
        client.voice.fail_at = None
        await client.turn()
        assert (await client.until(ev.ResponseDone, 2)).status == "completed"


async def test_a_recogniser_that_fails_is_apologised_for() -> None:
    failure = EngineError("asr", "rate_limited", "slowly")
    async with bench("Better.", words=[failure, "Hello."]) as client:
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.error_code) == ("failed", "asr_rate_limited")
        assert client.of(ev.TranscriptFailed)[0].code == "asr_rate_limited"
        assert (client.audio() == 77).all()
        await client.until(ev.ResponsePlayed)
        await client.turn()
        assert (await client.until(ev.ResponseDone, 2)).status == "completed"
        assert client.model.prompt()[-1] == ("user", "Hello.")


async def test_an_apology_can_be_interrupted() -> None:
    answer = Answer("", end=EngineError("llm", "unavailable", "gone"))
    async with bench(answer, "Better.") as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 2)
        await client.turn(0.6)
        assert (await client.until(ev.ResponseDone, 2)).status == "completed"


# -- what was heard ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "least", "most"), [(0, 0, 0), (1000, 8, 20), (2_500, 28, 50), (10**9, 80, len(LONG))]
)
async def test_the_client_reports_how_far_it_played(position: int, least: int, most: int) -> None:
    notes = Notes()
    async with bench(LONG, "Next.", words=["One.", "Two."], store=notes, user="me") as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 130)  # 5.2 s
        await client.say(1.0)
        done = await client.until(ev.ResponseDone)
        assert done.item is not None
        by_clock = done.item.text
        assert LONG.startswith(by_clock)
        client.ask(cmd.TruncateItem(done.item.id, position))
        assert client.of(ev.ItemTruncated)[-1].audio_end_ms == position
        heard = client.item(done.item.id).text
        assert LONG.startswith(heard)
        assert least <= len(heard) <= most
        await client.until(ev.ResponseDone, 2)
        spoken = [text for role, text in client.model.prompt() if role == "assistant"]
        assert spoken == ([heard] if heard else [])
        await asyncio.sleep(1)
        assert notes.now().get(done.item.id, "") == heard
        assert notes.now()[client.of(ev.AudioCommitted)[1].item_id] == "Two."


async def test_a_user_who_is_known_only_once_the_talk_has_begun() -> None:
    """As on the telephone: the caller's number comes with the first message."""
    notes = Notes()
    async with bench("Hello Ann.", words=["It is me."], store=notes) as client:
        options = SessionOptions(instructions="Be brief.", user="+4912345")
        client.ask(cmd.Configure(options))
        client.ask(cmd.Configure(replace(options, user="somebody else")))
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await asyncio.sleep(1)
        assert notes.recalled == notes.owners == ["/+4912345"]
        assert [text.strip() for text in notes.now().values()] == ["It is me.", "Hello Ann."]


async def test_what_was_never_heard_is_never_remembered() -> None:
    notes = Notes()
    async with bench(Answer(LONG, first=2.0), LONG, words=["One.", "Two."], store=notes, user="me") as client:
        await client.turn()
        await client.until(ev.ResponseStarted)
        await client.turn()  # in the middle of thinking
        await client.until(ev.ResponseAudio, 10)
        assert all(LONG not in entry.text for entry in notes.told)
        await client.until(ev.ResponsePlayed, 2)
        await asyncio.sleep(1)
        assert list(notes.now().values()) == ["One.", "Two.", LONG + " "]


async def test_a_report_on_an_item_that_was_not_spoken_is_only_acknowledged() -> None:
    async with bench(microphone=False) as client:
        client.ask(cmd.CreateItem(typed("a", "Typed.", "assistant")))
        client.ask(cmd.TruncateItem("a", 0))
        assert client.of(ev.ItemTruncated) == [ev.ItemTruncated("a", 0)]
        assert client.item("a").text == "Typed."


async def test_a_report_before_the_cancel_counts_as_much_as_one_after() -> None:
    """A client that stops by itself reports first and cancels then."""
    async with bench(LONG, "Next.", microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseAudio, 100)
        item_id = client.of(ev.ResponseItemAdded)[0].item.id
        client.ask(cmd.TruncateItem(item_id, 1000))
        client.ask(cmd.CancelResponse())
        assert 5 < len(client.item(item_id).text) < 25
