"""The interfaces of Vonage, Asterisk and FreeSWITCH; see `control.CallController`. Genesys' is the stream itself."""

import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from pydantic import JsonValue, SecretStr

from voiceagent import extras
from voiceagent.channels.base import CallController, ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.consoles import AsteriskManagerControl, FreeSwitchControl, channel_of, dialable
from voiceagent.channels.telephone.control import CurrentCall, Operation, Rest, id_of
from voiceagent.channels.telephone.settings import AsteriskSection, FreeSwitchSection, VonageSection

if TYPE_CHECKING:
    import jwt
else:
    jwt = extras.optional("jwt", "[telephone.vonage] private_key")

TOKEN_SECONDS = 60
"""How long a token of ours is good for."""


def vonage_connect(destination: str, caller: str = "") -> dict[str, JsonValue]:
    """The NCCO action that dials somebody; `caller` is the number that it is shown."""
    endpoint: dict[str, JsonValue] = {"type": "phone", "number": destination.removeprefix("+")}
    if destination.startswith("sip"):
        endpoint = {"type": "sip", "uri": destination}
    shown: dict[str, JsonValue] = {"from": caller} if caller else {}
    return {"action": "connect", **shown, "endpoint": [endpoint]}


class VonageControl:
    """Vonage's Voice API. Its tokens are signed by the application's private key."""

    def __init__(self, rest: Rest, application: str, private_key: SecretStr, call: CurrentCall) -> None:
        self._rest, self._application, self._key, self._call = rest, application, private_key, call

    async def carry_out(self, operation: Operation) -> None:
        body = self._body(operation)
        await self._rest.request("PUT", f"/v1/calls/{id_of(self._call)}", bearer=self._token(), json=body)

    def _body(self, operation: Operation) -> JsonValue:
        match operation:
            case HangUp():
                return {"action": "hangup"}
            case Transfer(destination):
                call = self._call()
                ncco: list[JsonValue] = [vonage_connect(destination, call.called if call else "")]
                return {"action": "transfer", "destination": {"type": "ncco", "ncco": ncco}}
            case SendDigits():
                raise ControlError("digits go as tones")

    def _token(self) -> SecretStr:
        now = int(time.time())
        claims = {
            "application_id": self._application,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_hex(16),
        }
        try:
            return SecretStr(jwt.encode(claims, self._key.get_secret_value(), "RS256"))
        except (ValueError, TypeError, jwt.PyJWTError):
            raise ControlError("[telephone.vonage] private_key is not an RSA key in PEM") from None


class AriControl:
    """Asterisk's REST interface, for callers whose channel is in a Stasis application."""

    def __init__(self, rest: Rest, login: tuple[str, SecretStr], context: str, call: CurrentCall) -> None:
        self._rest, self._login, self._context, self._call = rest, login, context, call

    async def carry_out(self, operation: Operation) -> None:
        path = f"/ari/channels/{quote(channel_of(self._call()), safe='')}"
        match operation:
            case HangUp():
                await self._rest.request("DELETE", path, basic=self._login)
            case Transfer(destination):
                exten = dialable(destination)
                query = urlencode({"context": self._context, "extension": exten, "priority": 1})
                await self._rest.request("POST", f"{path}/continue?{query}", basic=self._login)
            case SendDigits():
                raise ControlError("digits go as tones")


def asterisk_control(section: AsteriskSection, seconds: float, call: CurrentCall) -> CallController | None:
    """The manager where it is configured, as it can move any channel; else the REST interface, or None."""
    match section:
        case AsteriskSection(ami_user=user, ami_password=password) if user and password:
            return AsteriskManagerControl(
                section.ami_host, section.ami_port, (user, password), section.context, seconds, call
            )
        case AsteriskSection(http=http, ari_user=user, ari_password=password) if http and user and password:
            return AriControl(Rest("asterisk", http, seconds), (user, password), section.context, call)
        case _:
            return None


def vonage_control(section: VonageSection, seconds: float, call: CurrentCall) -> CallController | None:
    if not (section.application_id and section.private_key):
        return None
    return VonageControl(Rest("vonage", section.api_base, seconds), section.application_id, section.private_key, call)


def freeswitch_control(section: FreeSwitchSection, seconds: float, call: CurrentCall) -> CallController | None:
    if section.esl_password is None:
        return None
    return FreeSwitchControl(section.esl_host, section.esl_port, section.esl_password, section.context, seconds, call)
