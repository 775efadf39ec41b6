"""Hanging up, transferring and sending digits by the vendors' interfaces, over a real socket."""

import pytest
from pydantic import SecretStr

from tests.support.telephone.rest import Asked, VendorRest
from tests.support.telephone.vendors import CALL
from voiceagent.channels.base import CallController, ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.call import Call
from voiceagent.channels.telephone.control import ControlContext, CurrentCall, DialPage
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import AnyVendor
from voiceagent.channels.telephone.vendors import exotel, jambonz, plivo, signalwire, telnyx, twilio

TOKEN = SecretStr("s3cret-token")
PAGE = "https://voice.example.com/x/transfer?destination=%2B1555"


MODULES: dict[str, AnyVendor] = {
    module.VENDOR.name: module.VENDOR for module in (twilio, signalwire, telnyx, plivo, exotel, jambonz)
}


def control_for(section: VendorSection, seconds: float, call: CurrentCall, page: DialPage) -> CallController | None:
    vendor = next(vendor for vendor in MODULES.values() if isinstance(section, vendor.section))
    return vendor.control(section, ControlContext(seconds, call, page))


def section(vendor: str, base: str, token: SecretStr = TOKEN) -> VendorSection:
    match vendor:
        case "twilio":
            return twilio.TwilioSection(account_sid="AC1", auth_token=token, api_base=base)
        case "signalwire":
            return signalwire.SignalWireSection(project="AC1", token=token, api_base=f"{base}/api/laml")
        case "telnyx":
            return telnyx.TelnyxSection(api_key=token, api_base=base)
        case "plivo":
            return plivo.PlivoSection(auth_id="AC1", auth_token=token, api_base=base)
        case "exotel":
            return exotel.ExotelSection(account_sid="AC1", api_key="AC1", api_token=token, api_base=base)
        case _:
            return jambonz.JambonzSection(account_sid="AC1", api_key=token, api_base=base)


def control_of(
    vendor: str, base: str, *, token: SecretStr = TOKEN, call_id: str | None = None, page: str | None = PAGE,
    seconds: float = 5.0,
) -> CallController:  # fmt: skip
    call = Call(vendor, CALL[vendor] if call_id is None else call_id)
    control = control_for(section(vendor, base, token), seconds, lambda: call, lambda _: page)
    assert control is not None
    return control


HANG_UP = {
    "twilio": Asked("POST", "/2010-04-01/Accounts/AC1/Calls/CA1.json", {"Status": "completed"}),
    "signalwire": Asked("POST", "/api/laml/2010-04-01/Accounts/AC1/Calls/CA1.json", {"Status": "completed"}),
    "telnyx": Asked("POST", "/v2/calls/v3%3A1/actions/hangup", {}),
    "plivo": Asked("DELETE", "/v1/Account/AC1/Call/12345678-1234/", {}),
    "exotel": Asked("POST", "/v2/accounts/AC1/legs/CA1/actions/hangup", {}),
    "jambonz": Asked("POST", "/v1/Accounts/AC1/Calls/CA1", {"call_status": "completed"}),
}
DIAL = '<?xml version="1.0" encoding="UTF-8"?><Response><Dial><Number>+1555</Number></Dial></Response>'
TRANSFER = {
    "twilio": {"Twiml": DIAL},
    "signalwire": {"Url": PAGE, "Method": "POST"},
    "telnyx": {"to": "+1555"},
    "plivo": {"legs": "aleg", "aleg_url": PAGE, "aleg_method": "POST"},
    "jambonz": {"call_hook": PAGE},
}


@pytest.mark.parametrize("vendor", HANG_UP)
async def test_hanging_up(vendor: str) -> None:
    async with VendorRest() as rest:
        await control_of(vendor, rest.url).carry_out(HangUp())
        assert rest.asked == [HANG_UP[vendor]]


@pytest.mark.parametrize("vendor", TRANSFER)
async def test_transferring(vendor: str) -> None:
    async with VendorRest() as rest:
        await control_of(vendor, rest.url).carry_out(Transfer("+1555"))
        assert [asked.body for asked in rest.asked] == [TRANSFER[vendor]]


async def test_what_is_dialled_is_escaped() -> None:
    async with VendorRest() as rest:
        await control_of("twilio", rest.url).carry_out(Transfer("sip:a@b.example?x=1&y=2"))
        assert "<Sip>sip:a@b.example?x=1&amp;y=2</Sip>" in str(rest.asked[0].body["Twiml"])


async def test_telnyx_sends_digits() -> None:
    async with VendorRest() as rest:
        await control_of("telnyx", rest.url).carry_out(SendDigits("12w#"))
        assert rest.asked == [Asked("POST", "/v2/calls/v3%3A1/actions/send_dtmf", {"digits": "12w#"})]


@pytest.mark.parametrize("vendor", ["signalwire", "plivo", "jambonz"])
async def test_a_transfer_by_a_page_needs_a_public_url(vendor: str) -> None:
    async with VendorRest() as rest:
        with pytest.raises(ControlError, match="public_url"):
            await control_of(vendor, rest.url, page=None).carry_out(Transfer("+1555"))
        assert not rest.asked


@pytest.mark.parametrize("vendor", HANG_UP)
async def test_errors_name_the_vendor_and_no_secret(vendor: str) -> None:
    async with VendorRest() as rest:
        url = rest.url
        wrong = control_of(vendor, rest.url, token=SecretStr("wrong-but-secret"))
        with pytest.raises(ControlError, match=rf"^{vendor} refused it \(401\)$"):
            await wrong.carry_out(HangUp())
        with pytest.raises(ControlError, match=rf"^{vendor} refused it \(404\)$"):
            await control_of(vendor, rest.url, call_id="another").carry_out(HangUp())
        for status in (302, 429, 500):
            rest.status = status
            with pytest.raises(ControlError, match=rf"^{vendor} refused it \({status}\)$"):
                await control_of(vendor, rest.url).carry_out(HangUp())
        rest.delay = 10.0
        with pytest.raises(ControlError, match=rf"^{vendor} did not answer within 0.2 s$"):
            await control_of(vendor, rest.url, seconds=0.2).carry_out(HangUp())
    with pytest.raises(ControlError, match=rf"^{vendor} could not be reached$"):
        await control_of(vendor, url).carry_out(HangUp())


@pytest.mark.parametrize("vendor", HANG_UP)
async def test_a_call_s_id_cannot_lead_elsewhere(vendor: str) -> None:
    async with VendorRest() as rest:
        with pytest.raises(ControlError):
            await control_of(vendor, rest.url, call_id="../../Accounts/AC2?x=").carry_out(HangUp())
        assert all("../" not in asked.path for asked in rest.asked)
        rest.asked.clear()
        with pytest.raises(ControlError, match="no id"):
            await control_of(vendor, rest.url, call_id="").carry_out(HangUp())
        assert not rest.asked


async def test_what_a_vendor_cannot_do_is_an_error() -> None:
    for vendor in ("twilio", "plivo", "jambonz"):
        with pytest.raises(ControlError):
            await control_of(vendor, "http://127.0.0.1:9").carry_out(SendDigits("1"))
    with pytest.raises(ControlError):
        await control_of("exotel", "http://127.0.0.1:9").carry_out(Transfer("+1555"))


def test_an_account_that_is_not_configured_has_no_interface() -> None:
    empty = (twilio.TwilioSection(), signalwire.SignalWireSection(project="x", token=TOKEN), telnyx.TelnyxSection(),
             plivo.PlivoSection(), exotel.ExotelSection(), jambonz.JambonzSection())  # fmt: skip
    assert [control_for(section, 5.0, lambda: None, lambda _: None) for section in empty] == [None] * 6
    by_key = twilio.TwilioSection(account_sid="AC1", api_key="SK1", api_secret=TOKEN)
    assert control_for(by_key, 5.0, lambda: None, lambda _: None) is not None
    assert "s3cret" not in repr(by_key)
