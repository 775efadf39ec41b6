"""`[telephone]`: how calls are held, and for each vendor what proves that it is the vendor, and its interface."""

import base64
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from voiceagent.channels.telephone.call import CallTool
from voiceagent.section import Seconds, Section, WebAddress

_DESTINATION = re.compile(r"\+?[0-9]{3,15}|sips?:[^\s<>\"']{1,250}")
_SECRET = re.compile(r"[A-Za-z0-9._~-]{8,200}")


Port = Annotated[int, Field(ge=1, le=65535)]
PlainName = Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,80}$")]


def base64_value(secret: SecretStr) -> SecretStr:
    """Raises ValueError when it is none."""
    try:
        base64.b64decode(secret.get_secret_value(), validate=True)
    except ValueError:
        raise ValueError("must be base64") from None
    return secret


class VendorSection(Section):
    """What every telephone vendor's table may have."""

    secret: SecretStr | None = None
    """A secret of your own for the path (`/exotel/SECRET`), the query or an Authorization header, where the vendor has
    nothing better."""

    @field_validator("secret")
    @classmethod
    def _fits_a_path(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("must be 8 to 200 letters, digits or any of . _ ~ -")
        return value


class TwilioSection(VendorSection):
    """Twilio."""

    account_sid: str = ""
    """The account, for its REST interface."""
    auth_token: SecretStr | None = None
    """Checks the signatures of requests and, without an API key, opens the REST interface."""
    signing_key: SecretStr | None = None
    """The shared key of signatures by HMAC_SHA256."""
    api_key: str = ""
    """Key of the REST interface."""
    api_secret: SecretStr | None = None
    """Its secret."""
    api_base: WebAddress = "https://api.twilio.com"
    """Address of the REST interface."""


class SignalWireSection(VendorSection):
    """SignalWire."""

    project: str = ""
    """The project's id."""
    token: SecretStr | None = None
    """The project's API token."""
    signing_key: SecretStr | None = None
    """Checks the signatures of requests."""
    api_base: WebAddress | None = None
    """`https://SPACE.signalwire.com/api/laml`."""


class TelnyxSection(VendorSection):
    """Telnyx."""

    api_key: SecretStr | None = None
    """Key of the REST interface."""
    stream_token: SecretStr | None = None
    """The `stream_auth_token` that Telnyx was told to send along."""
    api_base: WebAddress = "https://api.telnyx.com"
    """Address of the REST interface."""


class PlivoSection(VendorSection):
    """Plivo."""

    auth_id: str = ""
    """The account."""
    auth_token: SecretStr | None = None
    """Checks the signatures of requests and opens the REST interface."""
    api_base: WebAddress = "https://api.plivo.com"
    """Address of the REST interface."""


class ExotelSection(VendorSection):
    """Exotel."""

    account_sid: str = ""
    """The account."""
    api_key: str = ""
    """Key of the REST interface."""
    api_token: SecretStr | None = None
    """Its token."""
    api_base: WebAddress = "https://cpaas-api.in.exotel.com"
    """Address of the REST interface."""


class JambonzSection(VendorSection):
    """jambonz."""

    account_sid: str = ""
    """The account."""
    api_key: SecretStr | None = None
    """Key of the REST interface."""
    api_base: WebAddress | None = None
    """Address of the REST interface; there is none of its own without one."""


class VonageSection(VendorSection):
    """Vonage."""

    signature_secret: SecretStr | None = None
    """Checks the signed tokens of webhooks and streams."""
    application_id: str = ""
    """The application, for the REST interface."""
    private_key: SecretStr | None = None
    """The application's private key, as PEM."""
    api_base: WebAddress = "https://api.nexmo.com"
    """Address of the REST interface."""
    rate: Literal[8000, 16_000, 24_000] = 16_000
    """Sample rate that our own answer page asks for, in Hz."""


class GenesysSection(VendorSection):
    """Genesys AudioHook."""

    api_key: SecretStr | None = None
    """The API key of the integration's credentials."""
    client_secret: Annotated[SecretStr, AfterValidator(base64_value)] | None = None
    """The client secret of the integration's credentials, base64."""


class FreeSwitchSection(VendorSection):
    """FreeSWITCH."""

    rate: Literal[8000, 16_000, 24_000, 32_000, 48_000] = 8000
    """The sample rate that `uuid_audio_stream` was given, in Hz."""
    esl_host: str = "127.0.0.1"
    """Host of the event socket."""
    esl_port: Port = 8021
    """Port of the event socket."""
    esl_password: SecretStr | None = None
    """Opens the event socket; without it calls are not controlled."""
    context: PlainName = "default"
    """Calls are transferred to an extension of this dialplan context."""


class AsteriskSection(VendorSection):
    """Asterisk."""

    http: WebAddress | None = None
    """Asterisk's own HTTP server, for its REST interface and for the media of calls that we dial into."""
    ari_user: str = ""
    """User of the REST interface (ARI)."""
    ari_password: SecretStr | None = None
    """Its password."""
    ami_host: str = "127.0.0.1"
    """Host of the manager interface (AMI)."""
    ami_port: Port = 5038
    """Port of the manager interface."""
    ami_user: str = ""
    """User of the manager interface."""
    ami_password: SecretStr | None = None
    """Its password."""
    context: PlainName = "default"
    """Calls are transferred to an extension of this dialplan context."""


class AudioSocketSection(VendorSection):
    """Calls by Asterisk's AudioSocket."""

    host: str = "127.0.0.1"
    """The address to listen on for them."""
    port: Port | None = None
    """The port; without one there are no such calls."""
    announced_only: bool = False
    """Take only calls that were announced before."""


class TelephoneSection(Section):
    """Telephone calls, from whatever vendor."""

    public_url: WebAddress | None = None
    """Where vendors reach this server; without it, at the address they asked."""
    greeting: str = ""
    """Said when a call begins; empty: nothing."""
    lead_ms: Annotated[int, Field(ge=20, le=5000)] = 160
    """Audio sent ahead of what is played."""
    tools: tuple[CallTool, ...] = ("end_call", "transfer_call")
    """What the agent may do with the call: `end_call`, `transfer_call`."""
    destinations: dict[str, str] = Field(default_factory=dict)
    """Whom callers may be transferred to: telephone numbers or `sip:` addresses by name."""
    any_destination: bool = False
    """Whether the model may name other numbers as well."""
    dial_after: str = ""
    """The destination that is dialled when our stream ends, by its name."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Go along with every call that our own answer pages take."""
    key_end: Annotated[str, Field(pattern="^[0-9*#A-D]?$")] = "#"
    """The key that completes keyed digits; empty: none."""
    key_seconds: Seconds = 2.5
    """How long after the last key the digits are complete."""
    key_count: Annotated[int, Field(ge=0, le=64)] = 0
    """How many digits complete them; 0: any number."""
    key_words: str = "[keypad: {digits}]"
    """How the model is told of them; `{digits}` stands for the digits."""
    control_seconds: Seconds = 10.0
    """How long a vendor's interface may take."""
    twilio: TwilioSection = TwilioSection()
    signalwire: SignalWireSection = SignalWireSection()
    telnyx: TelnyxSection = TelnyxSection()
    plivo: PlivoSection = PlivoSection()
    exotel: ExotelSection = ExotelSection()
    jambonz: JambonzSection = JambonzSection()
    vonage: VonageSection = VonageSection()
    genesys: GenesysSection = GenesysSection()
    freeswitch: FreeSwitchSection = FreeSwitchSection()
    asterisk: AsteriskSection = AsteriskSection()
    audiosocket: AudioSocketSection = AudioSocketSection()

    @field_validator("destinations")
    @classmethod
    def _can_be_called(cls, value: dict[str, str]) -> dict[str, str]:
        for name, destination in value.items():
            if not _DESTINATION.fullmatch(destination):
                raise ValueError(f"{name!r} is neither a telephone number such as +15551234 nor a sip: address")
        return value

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.dial_after and self.dial_after not in self.destinations:
            raise ValueError("dial_after must name one of the destinations")
        return self
