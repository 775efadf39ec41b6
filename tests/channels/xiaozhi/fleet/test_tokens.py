"""The tokens of xiaozhi devices by themselves."""

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.channels.xiaozhi.fleet.tokens import MAX_TOKEN, Bearer, Tokens, WrongToken

ONE = Bearer("a0:b1:c2:d3:e4:f5", "7f1d2c3b")
SECRET = b"the server's own secret"
IDS = st.text(max_size=20)


@given(IDS, IDS, st.text(max_size=64), st.integers(0, 10**6))
def test_a_token_tells_who_pays_and_fits_into_flash(device: str, client: str, tenant: str, epoch: int) -> None:
    tokens = Tokens([SECRET])
    tenant = tenant.encode(errors="ignore").decode()
    token = tokens.issue(Bearer(device, client), tenant, epoch)
    assert tokens.tenant(Bearer(device, client), token) == tenant
    assert len(token) <= MAX_TOKEN
    assert token.isascii()
    assert " " not in token  # else the firmware would send it without `Bearer`


@given(IDS, IDS)
def test_it_is_good_for_no_other(device: str, client: str) -> None:
    tokens = Tokens([SECRET])
    other = Bearer(device, client)
    with pytest.raises(WrongToken):
        tokens.tenant(other, tokens.issue(ONE, "acme", 0))
    # What parts the two ids is part of neither.
    with pytest.raises(WrongToken):
        tokens.tenant(Bearer(device + "x", client), tokens.issue(Bearer(device, "x" + client), "acme", 0))


@given(st.integers(0, 200), st.characters(max_codepoint=255))
def test_whatever_is_changed_it_is_wrong_or_none_of_ours(place: int, char: str) -> None:
    tokens = Tokens([SECRET])
    token = tokens.issue(ONE, "acme", 3)
    place %= len(token)
    for changed in (token[:place] + char + token[place + 1 :], token[:place] + char + token[place:], token[:place]):
        if changed == token:
            continue
        with contextlib.suppress(WrongToken):
            assert tokens.tenant(ONE, changed) is None


@given(st.text(max_size=100))
def test_text_is_no_token(text: str) -> None:
    tokens = Tokens([SECRET])
    mark = tokens.issue(ONE, "", 0).partition(".")[0]
    assert tokens.tenant(ONE, text) is None
    with pytest.raises(WrongToken):
        tokens.tenant(ONE, f"{mark}.{text}")


def test_revoked_ones_count_no_more() -> None:
    tokens = Tokens([SECRET])
    before, after = tokens.issue(ONE, "acme", 0), tokens.issue(ONE, "acme", 1)
    tokens.revoked = {ONE.device_id: 1}
    assert tokens.tenant(ONE, after) == "acme"
    with pytest.raises(WrongToken):
        tokens.tenant(ONE, before)
    other = dataclasses.replace(ONE, device_id="11:22:33:44:55:66")
    assert tokens.tenant(other, tokens.issue(other, "", 0)) == ""


def test_old_secrets_are_known_until_they_are_dropped() -> None:
    token = Tokens([b"old"]).issue(ONE, "acme", 0)
    assert Tokens([b"new", b"old"]).tenant(ONE, token) == "acme"
    assert Tokens([b"new"]).tenant(ONE, token) is None
    assert Tokens([b"new", b"old"]).issue(ONE, "", 0) == Tokens([b"new"]).issue(ONE, "", 0)
