"""Who may open a telephone's stream: the vendors' signatures and tokens, by themselves and at the doors."""

import base64
import hmac
import xml.etree.ElementTree as Xml

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import HTTPConnection
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.running import running
from tests.support.speech import EnginesFor
from tests.support.telephone.vendors import VENDORS
from voiceagent.channels.telephone.auth import addresses
from voiceagent.channels.telephone.registry import TelephoneSection
from voiceagent.channels.telephone.vendors.exotel import ExotelSection
from voiceagent.channels.telephone.vendors.jambonz import JambonzSection
from voiceagent.channels.telephone.vendors.plivo import PlivoSection, plivo_signature, plivo_signed
from voiceagent.channels.telephone.vendors.signalwire import SignalWireSection, signalwire_signed
from voiceagent.channels.telephone.vendors.telnyx import TelnyxSection
from voiceagent.channels.telephone.vendors.twilio import TwilioSection, twilio_signature, twilio_signed
from voiceagent.server.settings import ApiKey, LimitSection
from voiceagent.settings import Settings

TOKEN = "12345-auth-token"
KEY = SecretStr(TOKEN)
FORM = (("To", "+18005551212"), ("CallSid", "CA1"), ("From", "+14158675310"), ("Digits", "1234"), ("Digits", "12"))


def connection(path: str, host: str, *, kind: str = "websocket", query: str = "") -> HTTPConnection:
    return HTTPConnection(
        {
            "type": kind,
            "scheme": "ws" if kind == "websocket" else "http",
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"host", host.encode())],
            "server": ("10.0.0.1", 8000),
        }
    )


# -- signatures by themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["HMAC_SHA1", "HMAC_SHA256"])
@pytest.mark.parametrize(
    ("url", "params"),
    [("wss://voice.example.com/twilio", ()), ("https://voice.example.com/twilio/voice?x=1", FORM), ("ws://a:81/b", ())],
)
def test_signatures_are_those_of_twilio_s_own_library(
    url: str, params: tuple[tuple[str, str], ...], algorithm: str
) -> None:
    validator = pytest.importorskip("twilio.request_validator", reason="PyPI twilio is not installed")
    by_name: dict[str, list[str]] = {}
    for name, value in params:
        by_name.setdefault(name, []).append(value)

    class Form(dict[str, list[str]]):
        def getall(self, name: str) -> list[str]:
            return self[name]

    signature = twilio_signature(TOKEN, url, params, "sha256" if algorithm == "HMAC_SHA256" else "sha1")
    assert validator.RequestValidator(TOKEN).compute_signature(url, Form(by_name), algorithm) == signature
    assert validator.RequestValidator(TOKEN).validate(url, Form(by_name), signature, algorithm)


def test_behind_a_proxy_the_public_url_counts_with_its_port_or_without() -> None:
    inner = connection("/twilio", "10.0.0.1:8000")
    public = "https://voice.example.com"
    assert addresses(inner, public) == ["wss://voice.example.com/twilio", "wss://voice.example.com:443/twilio"]
    assert addresses(inner, f"{public}:8443/agents") == ["wss://voice.example.com:8443/agents/twilio"]
    assert addresses(inner, f"{public}:443") == addresses(inner, public)
    page = connection("/twilio/voice", "10.0.0.1:8000", kind="http", query="a=1")
    assert addresses(page, public)[0] == "https://voice.example.com/twilio/voice?a=1"
    assert "wss://[::1]:443/twilio" in addresses(connection("/twilio", "[::1]"), None)
    assert addresses(connection("/twilio", "localhost:8000"), None) == [
        "wss://localhost:8000/twilio",
        "ws://localhost:8000/twilio",
    ]


def test_twilio_s_two_algorithms_have_a_key_each() -> None:
    url = "wss://voice.example.com/twilio"
    shared = SecretStr("shared-key")
    by_token = {"x-twilio-signature": twilio_signature(TOKEN, url, ())}
    by_key = {
        "x-twilio-signature": twilio_signature("shared-key", url, (), "sha256"),
        "x-twilio-webhooks-signature-settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
    }
    assert twilio_signed(by_token, [url], (), KEY, None)
    assert twilio_signed(by_key, [url], (), KEY, shared)
    assert twilio_signed(by_key, [url], (), KEY, None) is False, "a key that is not configured opens nothing"
    assert twilio_signed(by_token, [url], (), None, shared) is False
    assert twilio_signed(
        by_token | {"x-twilio-webhooks-signature-settings": "algorithm=MD5"}, [url], (), KEY, None
    ) is (False)
    assert twilio_signed({}, [url], (), None, None) is None
    for broken in ("", "x", "é", by_token["x-twilio-signature"][:-1]):
        assert twilio_signed({"x-twilio-signature": broken}, [url], (), KEY, None) is False


def test_plivo_s_third_version() -> None:
    """The messages, written out by hand."""

    def by_hand(text: str) -> str:
        return base64.b64encode(hmac.digest(TOKEN.encode(), text.encode(), "sha256")).decode()

    base = "https://voice.example.com/plivo/voice"
    form = (("To", "2"), ("From", "1"))
    assert plivo_signature(TOKEN, "GET", base, (), "n") == by_hand(f"{base}.n")
    assert plivo_signature(TOKEN, "GET", f"{base}?b=2&a=1", (), "n") == by_hand(f"{base}?a=1&b=2.n")
    assert plivo_signature(TOKEN, "POST", base, form, "n") == by_hand(f"{base}?From1To2.n")
    assert plivo_signature(TOKEN, "POST", f"{base}?a=1", form, "n") == by_hand(f"{base}?a=1.From1To2.n")
    signed = {"x-plivo-signature-v3": f"other,{by_hand(f'{base}.n')}", "x-plivo-signature-v3-nonce": "n"}
    assert plivo_signed(signed, "GET", [base], (), KEY)
    assert plivo_signed({**signed, "x-plivo-signature-v3-nonce": "m"}, "GET", [base], (), KEY) is False
    assert plivo_signed({}, "GET", [base], (), KEY) is False
    assert plivo_signed({}, "GET", [base], (), None) is None


def test_signalwire_signs_forms_as_twilio_does_and_bodies_its_own_way() -> None:
    url, body = "https://voice.example.com/signalwire/voice", b'{"a":1}'
    by_form = {"x-signalwire-signature": twilio_signature(TOKEN, url, FORM)}
    by_body = {"x-signalwire-signature": hmac.digest(TOKEN.encode(), url.encode() + body, "sha1").hex()}
    assert signalwire_signed(by_form, [url], FORM, b"", KEY)
    assert signalwire_signed(by_body, [url], (), body, KEY)
    assert signalwire_signed(by_body, [url], (), b"{}", KEY) is False
    assert signalwire_signed({}, [url], (), body, KEY) is False


# -- at the doors -----------------------------------------------------------------------------------------------------


async def opens(url: str, headers: dict[str, str] | None = None) -> int:
    """The HTTP status of the upgrade."""
    try:
        async with connect(url, additional_headers=headers or {}):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"user:{password}".encode()).decode()}


@pytest.mark.real
async def test_only_the_vendor_comes_in(engines_for: EnginesFor) -> None:
    secret = SecretStr("our.secret-1")
    telephone = TelephoneSection(
        public_url="https://voice.example.com",
        twilio=TwilioSection(auth_token=KEY),
        signalwire=SignalWireSection(signing_key=KEY, secret=secret),
        telnyx=TelnyxSection(stream_token=KEY),
        plivo=PlivoSection(auth_token=KEY),
        exotel=ExotelSection(secret=secret),
        jambonz=JambonzSection(secret=secret),
    )
    async with running(Settings(telephone=telephone), engines_for("http://127.0.0.1:9/v1")) as (_, url):
        for vendor in VENDORS:
            assert await opens(f"{url}/{vendor}") == 403, vendor
            assert await opens(f"{url}/{vendor}/wrong-secret") == 403, vendor
            assert await opens(f"{url}/{vendor}?key=wrong-secret", basic("wrong-secret")) == 403, vendor
        right = {"X-Twilio-Signature": twilio_signature(TOKEN, "wss://voice.example.com:443/twilio", ())}
        assert await opens(f"{url}/twilio", right) == 101
        inner = {"X-Twilio-Signature": twilio_signature(TOKEN, f"{url}/twilio", ())}
        assert await opens(f"{url}/twilio", inner) == 403, "only the public URL counts"
        assert await opens(f"{url}/telnyx", {"x-telnyx-streaming-auth-token": TOKEN}) == 101
        nonce = {"X-Plivo-Signature-V3-Nonce": "n"}
        made = plivo_signature(TOKEN, "GET", "wss://voice.example.com/plivo", (), "n")
        assert await opens(f"{url}/plivo", {**nonce, "X-Plivo-Signature-V3": made}) == 101
        for vendor in ("signalwire", "exotel", "jambonz"):
            assert await opens(f"{url}/{vendor}/our.secret-1") == 101
            assert await opens(f"{url}/{vendor}?key=our.secret-1") == 101
            assert await opens(f"{url}/{vendor}", basic("our.secret-1")) == 101
            assert await opens(f"{url}/{vendor}", {"Authorization": "Bearer our.secret-1"}) == 101
        async with connect(f"{url}/jambonz/our.secret-1", subprotocols=["audio.jambonz.org"]) as jambonz:  # type: ignore[list-item]
            assert jambonz.subprotocol == "audio.jambonz.org"


@pytest.mark.real
async def test_without_anything_configured_the_api_keys_count(engines_for: EnginesFor) -> None:
    limits = LimitSection(api_keys=(ApiKey(name="shop", key=SecretStr("shop-key")),), sessions_per_key=1)
    async with running(Settings(limits=limits), engines_for("http://127.0.0.1:9/v1")) as (_, url):
        assert await opens(f"{url}/twilio") == 403
        assert await opens(f"{url}/twilio/other-key") == 403
        async with connect(f"{url}/exotel/shop-key"):
            assert await opens(f"{url}/twilio/shop-key") == 429, "it is the shop's one place"
        async with httpx.AsyncClient(trust_env=False, base_url=url.replace("ws", "http", 1)) as http:
            assert (await http.post("/twilio/voice")).status_code == 403
            answer = await http.post("/twilio/voice?key=shop-key")
            assert "/twilio/shop-key" in answer.text
    async with running(Settings(), engines_for("http://127.0.0.1:9/v1")) as (_, url):
        assert [await opens(f"{url}/{vendor}") for vendor in VENDORS] == [101] * len(VENDORS)


# -- the pages --------------------------------------------------------------------------------------------------------


@pytest.mark.real
async def test_incoming_calls_are_answered_with_the_stream(engines_for: EnginesFor) -> None:
    telephone = TelephoneSection(
        public_url="https://voice.example.com",
        destinations={"sales": "+15550001", "service": "sip:a@b.example?x=1&y=2"},
        dial_after="sales",
        parameters={"tenant": 'a"c<m>e&'},
        twilio=TwilioSection(auth_token=KEY),
        plivo=PlivoSection(secret=SecretStr("our.secret-1")),
    )
    form = {"From": "+14158675310", "To": "+18005551212", "CallSid": "CA1", "Caller": "Ann & Bob"}
    async with (
        running(Settings(telephone=telephone), engines_for("http://127.0.0.1:9/v1")) as (_, url),
        httpx.AsyncClient(trust_env=False, base_url=url.replace("ws", "http", 1)) as http,
    ):
        right = twilio_signature(TOKEN, "https://voice.example.com/twilio/voice", tuple(form.items()))
        answer = await http.post("/twilio/voice", data=form, headers={"X-Twilio-Signature": right})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/xml")
        response = Xml.fromstring(answer.text)
        stream = response.find("Connect/Stream")
        assert stream is not None
        assert stream.attrib == {"url": "wss://voice.example.com/twilio"}
        assert [parameter.attrib for parameter in stream] == [
            {"name": "from", "value": "+14158675310"},
            {"name": "to", "value": "+18005551212"},
            {"name": "tenant", "value": 'a"c<m>e&'},
        ]
        assert [child.tag for child in response] == ["Connect", "Dial"]
        assert response.findtext("Dial/Number") == "+15550001"

        forged = await http.post("/twilio/voice", data={**form, "From": "+1"}, headers={"X-Twilio-Signature": right})
        assert forged.status_code == 403
        assert (await http.get("/twilio/voice")).status_code == 403
        plain = twilio_signature(TOKEN, "https://voice.example.com/twilio/voice", ())
        assert (await http.get("/twilio/voice", headers={"X-Twilio-Signature": plain})).status_code == 200

        plivo = Xml.fromstring((await http.post("/plivo/voice?key=our.secret-1", data=form)).text)
        stream = plivo.find("Stream")
        assert stream is not None
        assert stream.text == "wss://voice.example.com/plivo/our.secret-1"
        assert stream.attrib["extraHeaders"] == "from=14158675310,to=18005551212,tenant=acme"
        assert stream.attrib["bidirectional"] == stream.attrib["keepCallAlive"] == "true"

        telnyx = Xml.fromstring((await http.post("/telnyx/voice", data=form)).text)
        assert telnyx.find("Connect/Stream[@bidirectionalMode='rtp'][@bidirectionalCodec='PCMU']") is not None
        assert Xml.fromstring((await http.post("/signalwire/voice", data=form)).text).find("Connect/Stream") is not None
        verbs = (await http.post("/jambonz/voice", json={})).json()
        assert [verb["verb"] for verb in verbs] == ["listen", "dial"]
        assert verbs[0]["bidirectionalAudio"]["streaming"] is True
        assert (await http.post("/exotel/voice")).status_code in (404, 405)

        too_large = await http.post("/telnyx/voice", content=b"x" * 70_000)
        assert too_large.status_code == 413
        for broken in (b"\xff\xfe=1", b"&".join(b"a=1" for _ in range(300))):
            kind = {"content-type": "application/x-www-form-urlencoded"}
            assert (await http.post("/telnyx/voice", content=broken, headers=kind)).status_code == 400


@pytest.mark.real
async def test_only_known_destinations_are_dialled(engines_for: EnginesFor) -> None:
    telephone = TelephoneSection(destinations={"sales": "+15550001", "service": "sip:a@b.example?x=1&y=2"})
    async with (
        running(Settings(telephone=telephone), engines_for("http://127.0.0.1:9/v1")) as (_, url),
        httpx.AsyncClient(trust_env=False, base_url=url.replace("ws", "http", 1)) as http,
    ):
        for vendor, tag in (("twilio", "Sip"), ("plivo", "User")):
            page = await http.post(f"/{vendor}/transfer", params={"destination": "sip:a@b.example?x=1&y=2"})
            assert Xml.fromstring(page.text).findtext(f"Dial/{tag}") == "sip:a@b.example?x=1&y=2"
        page = await http.post("/jambonz/transfer", params={"destination": "+15550001"})
        assert page.json() == [{"verb": "dial", "target": [{"type": "phone", "number": "+15550001"}]}]
        for unknown in ("+19005551234", "", "sales"):
            assert (await http.post("/twilio/transfer", params={"destination": unknown})).status_code == 404


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"destinations": {"sales": "call me"}},
        {"destinations": {"sales": "+1<Dial>"}},
        {"dial_after": "nobody"},
        {"public_url": "voice.example.com"},
        {"key_end": "##"},
        {"tools": ["format_disk"]},
        {"exotel": {"secret": "short"}},
        {"exotel": {"secret": "with a space and / slash"}},
        {"twilio": {"auth_tokn": "x"}},
    ],
)
def test_slips_in_the_settings_are_found(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TelephoneSection.model_validate(wrong)


def test_secrets_are_not_shown() -> None:
    section = TelephoneSection(twilio=TwilioSection(auth_token=KEY), exotel=ExotelSection(secret=SecretStr(TOKEN)))
    assert TOKEN not in repr(section)
