"""The `voiceagent.*` events that the page draws its turns from, as they go over the wire."""

from dataclasses import replace

from tests.support.realtime.wire import DONE, begin, protocol, tell, types, update
from voiceagent.session import events

ASKED_FOR: list[events.Event] = [
    events.Interruption("pause", "voice"),
    events.Speculated(used=False, tokens=7),
    events.ResponseThinking("resp_1", "嗯"),
]


def test_decisions_are_told_with_their_reasons_to_those_who_asked() -> None:
    realtime = protocol()
    assert tell(realtime, *ASKED_FOR) == []
    update(realtime, voiceagent={"events": True})
    for event in (told := tell(realtime, *ASKED_FOR)):
        del event["event_id"]
    assert told == [
        {"type": "voiceagent.interruption", "action": "pause", "reason": "voice"},
        {"type": "voiceagent.speculation", "used": False, "tokens": 7},
        {"type": "voiceagent.thinking", "response_id": "resp_1", "text": "嗯"},
    ]
    update(realtime, voiceagent={"events": False})
    assert tell(realtime, *ASKED_FOR) == []


def test_the_cost_of_a_reply_follows_its_end() -> None:
    usage = events.TokenUsage(input_tokens=50, output_tokens=7, cached_tokens=20, cost=0.0012, endpoint="near")
    done = replace(DONE, usage=usage)
    realtime = protocol()
    assert types(tell(realtime, *begin(), done))[-1] == "response.done"
    update(realtime, voiceagent={"events": True})
    *_, ended, cost = tell(realtime, *begin(), done)
    assert ended["type"] == "response.done"
    del cost["event_id"]
    assert cost == {
        "type": "voiceagent.usage",
        "response_id": "resp_1",
        "input_tokens": 50,
        "output_tokens": 7,
        "cached_tokens": 20,
        "cost": 0.0012,
        "endpoint": "near",
    }
