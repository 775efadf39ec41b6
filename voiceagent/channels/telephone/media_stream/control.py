"""The vendors' interfaces, one class each; see `control.CallController`."""

from pydantic import SecretStr

from voiceagent.channels.base import CallController, ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.control import CurrentCall, DialPage, Operation, Rest, id_of, page_for
from voiceagent.channels.telephone.settings import (
    ExotelSection,
    JambonzSection,
    PlivoSection,
    SignalWireSection,
    TelnyxSection,
    TwilioSection,
    VendorSection,
)
from voiceagent.channels.telephone.xml import dial_xml


class TwilioControl:
    """Twilio's REST API of 2010-04-01."""

    def __init__(self, rest: Rest, account: str, login: tuple[str, SecretStr], call: CurrentCall) -> None:
        self._rest, self._account, self._login, self._call = rest, account, login, call

    async def carry_out(self, operation: Operation) -> None:
        match operation:
            case HangUp():
                await self._update({"Status": "completed"})
            case Transfer(destination):
                await self._update(self._transferred(destination))
            case SendDigits():
                raise ControlError("digits go as tones")

    def _transferred(self, destination: str) -> dict[str, str]:
        return {"Twiml": dial_xml(destination)}

    async def _update(self, form: dict[str, str]) -> None:
        path = f"/2010-04-01/Accounts/{self._account}/Calls/{id_of(self._call)}.json"
        await self._rest.request("POST", path, basic=self._login, form=form)


class SignalWireControl(TwilioControl):
    """The same, but a transfer must be fetched from a page."""

    def __init__(
        self, rest: Rest, account: str, login: tuple[str, SecretStr], call: CurrentCall, dial: DialPage
    ) -> None:
        super().__init__(rest, account, login, call)
        self._dial = dial

    def _transferred(self, destination: str) -> dict[str, str]:
        return {"Url": page_for(self._dial, destination), "Method": "POST"}


class TelnyxControl:
    """Telnyx' call control commands."""

    def __init__(self, rest: Rest, api_key: SecretStr, call: CurrentCall) -> None:
        self._rest, self._key, self._call = rest, api_key, call

    async def carry_out(self, operation: Operation) -> None:
        match operation:
            case HangUp():
                await self._act("hangup", {})
            case Transfer(destination):
                await self._act("transfer", {"to": destination})
            case SendDigits(digits):
                await self._act("send_dtmf", {"digits": digits})

    async def _act(self, action: str, body: dict[str, str]) -> None:
        path = f"/v2/calls/{id_of(self._call)}/actions/{action}"
        await self._rest.request("POST", path, bearer=self._key, json={**body})


class PlivoControl:
    """Plivo's Call API."""

    def __init__(self, rest: Rest, auth_id: str, auth_token: SecretStr, call: CurrentCall, dial: DialPage) -> None:
        self._rest, self._login, self._call, self._dial = rest, (auth_id, auth_token), call, dial

    async def carry_out(self, operation: Operation) -> None:
        path = f"/v1/Account/{self._login[0]}/Call/{id_of(self._call)}/"
        match operation:
            case HangUp():
                await self._rest.request("DELETE", path, basic=self._login)
            case Transfer(destination):
                page = page_for(self._dial, destination)
                body = {"legs": "aleg", "aleg_url": page, "aleg_method": "POST"}
                await self._rest.request("POST", path, basic=self._login, json={**body})
            case SendDigits():
                raise ControlError("digits go over the stream")


class ExotelControl:
    """Exotel's Legs API, which can hang up. Calls are transferred by the flow that goes on when the stream ends."""

    def __init__(self, rest: Rest, account: str, login: tuple[str, SecretStr], call: CurrentCall) -> None:
        self._rest, self._account, self._login, self._call = rest, account, login, call

    async def carry_out(self, operation: Operation) -> None:
        if not isinstance(operation, HangUp):
            raise ControlError("exotel cannot do that on request")
        path = f"/v2/accounts/{self._account}/legs/{id_of(self._call)}/actions/hangup"
        await self._rest.request("POST", path, basic=self._login, json={})


class JambonzControl:
    """jambonz' REST API."""

    def __init__(self, rest: Rest, account: str, api_key: SecretStr, call: CurrentCall, dial: DialPage) -> None:
        self._rest, self._account, self._key, self._call, self._dial = rest, account, api_key, call, dial

    async def carry_out(self, operation: Operation) -> None:
        match operation:
            case HangUp():
                await self._update({"call_status": "completed"})
            case Transfer(destination):
                await self._update({"call_hook": page_for(self._dial, destination)})
            case SendDigits():
                raise ControlError("digits go as tones")

    async def _update(self, body: dict[str, str]) -> None:
        path = f"/v1/Accounts/{self._account}/Calls/{id_of(self._call)}"
        await self._rest.request("POST", path, bearer=self._key, json={**body})


def control_for(section: VendorSection, seconds: float, call: CurrentCall, dial: DialPage) -> CallController | None:
    """The interface of this vendor; None where its account is not configured. Requests have so many seconds."""
    match section:
        case TwilioSection(account_sid=account, api_key=key, api_secret=secret) if account and key and secret:
            return TwilioControl(Rest("twilio", section.api_base, seconds), account, (key, secret), call)
        case TwilioSection(account_sid=account, auth_token=token) if account and token:
            return TwilioControl(Rest("twilio", section.api_base, seconds), account, (account, token), call)
        case SignalWireSection(project=project, token=token, api_base=base) if project and token and base:
            rest = Rest("signalwire", base, seconds)
            return SignalWireControl(rest, project, (project, token), call, dial)
        case TelnyxSection(api_key=api_key) if api_key:
            return TelnyxControl(Rest("telnyx", section.api_base, seconds), api_key, call)
        case PlivoSection(auth_id=auth_id, auth_token=token) if auth_id and token:
            return PlivoControl(Rest("plivo", section.api_base, seconds), auth_id, token, call, dial)
        case ExotelSection(account_sid=account, api_key=key, api_token=token) if account and key and token:
            return ExotelControl(Rest("exotel", section.api_base, seconds), account, (key, token), call)
        case JambonzSection(account_sid=account, api_key=api_key, api_base=base) if account and api_key and base:
            return JambonzControl(Rest("jambonz", base, seconds), account, api_key, call, dial)
        case _:
            return None
