"""Hanging up and transferring at Vonage, Asterisk and FreeSWITCH, over real sockets."""

import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from tests.support.telephone.rest import VendorRest
from tests.support.telephone.systems.consoles import PASSWORD, ConsoleServer
from voiceagent.channels.base import CallController, ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.call import Call
from voiceagent.channels.telephone.control import ControlContext, CurrentCall, Operation
from voiceagent.channels.telephone.vendors import asterisk, freeswitch, vonage
from voiceagent.channels.telephone.vendors.asterisk import AsteriskSection
from voiceagent.channels.telephone.vendors.freeswitch import FreeSwitchSection
from voiceagent.channels.telephone.vendors.genesys import GenesysSection
from voiceagent.channels.telephone.vendors.vonage import VonageSection

TOKEN = SecretStr(PASSWORD)


def current(call_id: str = "u1", channel: str = "PJSIP/1000-1") -> CurrentCall:
    call = Call("x", call_id, "", "+15551234", "+15559999", {"channel": channel} if channel else {})
    return lambda: call


def esl(
    server: ConsoleServer, call: CurrentCall, *, password: SecretStr = TOKEN, seconds: float = 5.0
) -> CallController:
    section = FreeSwitchSection(esl_port=server.port, esl_password=password)
    control = freeswitch.VENDOR.control(section, ControlContext(seconds, call))
    assert control is not None
    return control


def ami(
    server: ConsoleServer, call: CurrentCall, *, password: SecretStr = TOKEN, seconds: float = 5.0
) -> CallController:
    section = AsteriskSection(ami_port=server.port, ami_user="agent", ami_password=password, context="from-agent")
    control = asterisk.VENDOR.control(section, ControlContext(seconds, call))
    assert control is not None
    return control


@pytest.mark.parametrize(
    ("operation", "line"),
    [
        (HangUp(), "api uuid_kill u1"),
        (Transfer("+15550001"), "api uuid_transfer u1 +15550001 XML default"),
        (Transfer("sip:sales@example.com"), "api uuid_transfer u1 'bridge:sofia/external/sales@example.com' inline"),
        (SendDigits("12#"), "api uuid_send_dtmf u1 12#"),
    ],
)
async def test_freeswitch(operation: Operation, line: str) -> None:
    async with ConsoleServer("freeswitch").running() as server:
        await esl(server, current()).carry_out(operation)
        assert server.asked == [[line]]


@pytest.mark.parametrize(
    ("operation", "lines"),
    [
        (HangUp(), ["Action: Hangup", "Channel: PJSIP/1000-1", "Cause: 16"]),
        (
            Transfer("+15550001"),
            ["Action: Redirect", "Channel: PJSIP/1000-1", "Context: from-agent", "Exten: +15550001", "Priority: 1"],
        ),
    ],
)
async def test_asterisk_s_manager(operation: Operation, lines: list[str]) -> None:
    async with ConsoleServer("asterisk").running() as server:
        await ami(server, current()).carry_out(operation)
        assert server.asked == [lines]


@pytest.mark.parametrize("kind", ["freeswitch", "asterisk"])
async def test_consoles_that_refuse_or_say_nothing(kind: str) -> None:
    make = esl if kind == "freeswitch" else ami
    server = ConsoleServer(kind)
    async with server.running():
        with pytest.raises(ControlError, match=f"^{kind} refused the password$"):
            await make(server, current(), password=SecretStr("wrong-but-secret")).carry_out(HangUp())
        with pytest.raises(ControlError, match=f"^{kind} refused it$"):
            await make(server, current("u2", "PJSIP/none")).carry_out(HangUp())
        server.silent = True
        with pytest.raises(ControlError, match=f"^{kind} did not answer within 0.2 s$"):
            await make(server, current(), seconds=0.2).carry_out(HangUp())
    with pytest.raises(ControlError, match=f"^{kind} could not be reached$"):
        await make(server, current()).carry_out(HangUp())


@pytest.mark.parametrize("kind", ["freeswitch", "asterisk"])
@pytest.mark.parametrize("evil", ["", "u1\r\nAction: Command", "u1\napi shutdown", "u1\x00"])
async def test_names_cannot_break_out_of_their_line(kind: str, evil: str) -> None:
    make = esl if kind == "freeswitch" else ami
    async with ConsoleServer(kind).running() as server:
        with pytest.raises(ControlError, match="no usable"):
            await make(server, current(evil, evil)).carry_out(HangUp())
        for destination in (evil, f"sip:{evil}", "1&Local/1@else", "sip:${system(id)}@x", "1,2", "sip:a'@b", "1 2"):
            with pytest.raises(ControlError, match="no usable destination"):
                await make(server, current()).carry_out(Transfer(destination if destination != "sip:" else ""))
        assert not server.asked


async def test_a_uuid_is_one_word() -> None:
    async with ConsoleServer("freeswitch").running() as server:
        with pytest.raises(ControlError, match="uuid"):
            await esl(server, current("u1 u2")).carry_out(HangUp())


async def test_asterisk_s_rest_interface() -> None:
    async with VendorRest() as rest:
        rest.status = 204
        section = AsteriskSection(http=rest.url, ari_user="agent", ari_password=TOKEN)
        control = asterisk.VENDOR.control(section, ControlContext(5.0, current(channel="1700000000.1")))
        assert control is not None
        await control.carry_out(HangUp())
        await control.carry_out(Transfer("+15550001"))
        assert [(asked.method, asked.path) for asked in rest.asked] == [
            ("DELETE", "/ari/channels/1700000000.1"),
            ("POST", "/ari/channels/1700000000.1/continue"),
        ]
        with pytest.raises(ControlError, match="tones"):
            await control.carry_out(SendDigits("1"))
        rest.status = 409
        with pytest.raises(ControlError, match=r"^asterisk refused it \(409\)$"):
            await control.carry_out(HangUp())


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2048)


async def test_vonage_with_a_token_of_the_application_s(private_key: rsa.RSAPrivateKey) -> None:
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    async with VendorRest() as rest:
        rest.status = 204
        section = VonageSection(application_id="app-1", private_key=SecretStr(pem), api_base=rest.url)
        control = vonage.VENDOR.control(section, ControlContext(5.0, current("63f61863-4a51")))
        assert control is not None
        await control.carry_out(HangUp())
        await control.carry_out(Transfer("+15550001"))
        await control.carry_out(Transfer("sip:sales@example.com"))
        assert [(asked.method, asked.path) for asked in rest.asked] == [("PUT", "/v1/calls/63f61863-4a51")] * 3
        assert rest.asked[0].body == {"action": "hangup"}
        connect = {"action": "connect", "from": "+15559999", "endpoint": [{"type": "phone", "number": "15550001"}]}
        assert rest.asked[1].body == {"action": "transfer", "destination": {"type": "ncco", "ncco": [connect]}}
        assert '{"type": "sip", "uri": "sip:sales@example.com"}' in json.dumps(rest.asked[2].body)
        token = control._token().get_secret_value()  # type: ignore[attr-defined]
        claims = jwt.decode(token, private_key.public_key(), algorithms=["RS256"])
        assert (claims["application_id"], claims["exp"] - claims["iat"]) == ("app-1", 60)
        assert "PRIVATE KEY" not in repr(section)


@pytest.mark.parametrize("key", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
async def test_a_key_that_is_none_is_an_error_without_the_key(key: str) -> None:
    section = VonageSection(application_id="app-1", private_key=SecretStr(key), api_base="http://127.0.0.1:9")
    control = vonage.VENDOR.control(section, ControlContext(5.0, current()))
    assert (control is None) == (key == "")
    if control is not None:
        with pytest.raises(ControlError, match=r"^\[telephone.vonage\] private_key is not an RSA key in PEM$"):
            await control.carry_out(HangUp())


def test_what_is_not_configured_has_no_interface() -> None:
    assert asterisk.VENDOR.control(AsteriskSection(), ControlContext(5.0, current())) is None
    assert (
        asterisk.VENDOR.control(AsteriskSection(ari_user="agent", ari_password=TOKEN), ControlContext(5.0, current()))
        is None
    )
    assert freeswitch.VENDOR.control(FreeSwitchSection(), ControlContext(5.0, current())) is None
    assert vonage.VENDOR.control(VonageSection(application_id="app-1"), ControlContext(5.0, current())) is None


def test_sections_are_checked() -> None:
    with pytest.raises(ValueError, match="base64"):
        GenesysSection(client_secret=SecretStr("not base64!"))
    with pytest.raises(ValueError, match="pattern"):
        AsteriskSection(context="default\r\nAction: Command")
