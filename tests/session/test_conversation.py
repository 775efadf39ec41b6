import pytest

from voiceagent.errors import Refused
from voiceagent.session.conversation import MAX_ITEMS, Conversation, Item, Part
from voiceagent.session.timeline import Timeline


def item(item_id: str) -> Item:
    return Item(item_id, "user", (Part("text", item_id),))


def order(conversation: Conversation) -> list[str]:
    return [entry.id for entry in conversation.items]


def test_items_go_where_they_are_asked_to() -> None:
    conversation = Conversation()
    assert conversation.add(item("a")) is None
    assert conversation.add(item("c")) == "a"
    assert conversation.add(item("b"), after="a") == "a"
    assert conversation.add(item("first"), after="root") is None
    assert order(conversation) == ["first", "a", "b", "c"]
    conversation.remove("b")
    assert conversation.before("c") == "a"


def test_what_cannot_be_done_is_refused_and_changes_nothing() -> None:
    conversation = Conversation()
    conversation.add(item("a"))
    with pytest.raises(Refused, match="already exists") as refused:
        conversation.add(item("a"))
    assert refused.value.code == "item_create_duplicate_item_id"
    with pytest.raises(Refused, match="no item") as refused:
        conversation.add(item("b"), after="zzz")
    assert refused.value.code == "item_create_invalid_previous_item_id"
    with pytest.raises(Refused, match="no item") as refused:
        conversation.remove("zzz")
    assert refused.value.code == "item_delete_invalid_item_id"
    assert order(conversation) == ["a"]


def test_the_oldest_items_go_when_there_are_too_many() -> None:
    conversation = Conversation()
    for index in range(MAX_ITEMS + 3):
        conversation.add(item(f"i{index}"))
    assert len(conversation.items) == MAX_ITEMS
    assert order(conversation)[0] == "i3"


def test_setting_the_text_of_an_item_that_is_gone_is_harmless() -> None:
    assert Conversation().set_text("zzz", "words") is None


def test_the_parts_of_a_timeline_add_up() -> None:
    timeline = Timeline(
        speech_end=10.0, committed=10.5, transcribed=10.45, first_token=10.7, first_clause=10.75, first_audio=10.8
    )
    parts = timeline.parts()
    assert parts["asr"] == 0
    assert sum(parts.values()) == timeline.response_ms == 800


def test_a_typed_turn_has_no_response_time() -> None:
    timeline = Timeline(first_token=1.0, first_audio=1.5)
    assert timeline.response_ms is None
    assert timeline.parts() == {"tts_first_audio": 500}
