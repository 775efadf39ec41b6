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
    """`secret` is one of our own, for the path (`/exotel/<secret>`), the query or an Authorization header, where the
    vendor has nothing better."""

    secret: SecretStr | None = None

    @field_validator("secret")
    @classmethod
    def _fits_a_path(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("must be 8 to 200 letters, digits or any of . _ ~ -")
        return value


class TwilioSection(VendorSection):
    """`auth_token` checks the signatures and, with `account_sid`, opens the interface, unless an API key does.
    `signing_key` is the shared key of signatures by HMAC_SHA256."""

    account_sid: str = ""
    auth_token: SecretStr | None = None
    signing_key: SecretStr | None = None
    api_key: str = ""
    api_secret: SecretStr | None = None
    api_base: WebAddress = "https://api.twilio.com"


class SignalWireSection(VendorSection):
    """`api_base` is `https://<space>.signalwire.com/api/laml`."""

    project: str = ""
    token: SecretStr | None = None
    signing_key: SecretStr | None = None
    api_base: WebAddress | None = None


class TelnyxSection(VendorSection):
    """`stream_token` is the `stream_auth_token` that Telnyx was told to send along."""

    api_key: SecretStr | None = None
    stream_token: SecretStr | None = None
    api_base: WebAddress = "https://api.telnyx.com"


class PlivoSection(VendorSection):
    auth_id: str = ""
    auth_token: SecretStr | None = None
    api_base: WebAddress = "https://api.plivo.com"


class ExotelSection(VendorSection):
    account_sid: str = ""
    api_key: str = ""
    api_token: SecretStr | None = None
    api_base: WebAddress = "https://cpaas-api.in.exotel.com"


class JambonzSection(VendorSection):
    account_sid: str = ""
    api_key: SecretStr | None = None
    api_base: WebAddress | None = None


class VonageSection(VendorSection):
    """`signature_secret` checks the signed tokens of webhooks and streams. `application_id` and `private_key`, a PEM,
    open the interface. `rate` is asked for by our own page."""

    signature_secret: SecretStr | None = None
    application_id: str = ""
    private_key: SecretStr | None = None
    api_base: WebAddress = "https://api.nexmo.com"
    rate: Literal[8000, 16_000, 24_000] = 16_000


class GenesysSection(VendorSection):
    """`api_key` and `client_secret`, base64, are those of the integration's credentials."""

    api_key: SecretStr | None = None
    client_secret: Annotated[SecretStr, AfterValidator(base64_value)] | None = None


class FreeSwitchSection(VendorSection):
    """`rate` is the one that `uuid_audio_stream` was given. `esl_password` opens the event socket at `esl_host`. Calls
    are transferred to an extension of `context`."""

    rate: Literal[8000, 16_000, 24_000, 32_000, 48_000] = 8000
    esl_host: str = "127.0.0.1"
    esl_port: Port = 8021
    esl_password: SecretStr | None = None
    context: PlainName = "default"


class AsteriskSection(VendorSection):
    """`http` is Asterisk's own HTTP server, for its REST interface (`ari_user`) and for the media of calls that we dial
    into; `ami_user` opens the manager at `ami_host`. Calls are transferred to an extension of `context`."""

    http: WebAddress | None = None
    ari_user: str = ""
    ari_password: SecretStr | None = None
    ami_host: str = "127.0.0.1"
    ami_port: Port = 5038
    ami_user: str = ""
    ami_password: SecretStr | None = None
    context: PlainName = "default"


class AudioSocketSection(VendorSection):
    """Where calls by AudioSocket are taken; no `port`, no calls. With `announced_only` none that was not announced."""

    host: str = "127.0.0.1"
    port: Port | None = None
    announced_only: bool = False


class TelephoneSection(Section):
    """`public_url` is where vendors reach this server. `greeting` is said when a call begins. `destinations` are whom
    callers may be given to, by name; `dial_after` names the one that is dialled when our stream ends. `parameters` go
    along with every call that our own pages answer. Keyed digits: `key_end` completes them, `key_seconds` of waiting,
    or `key_count` of them; `key_words` tells the model."""

    public_url: WebAddress | None = None
    greeting: str = ""
    lead_ms: Annotated[int, Field(ge=20, le=5000)] = 160
    tools: tuple[CallTool, ...] = ("end_call", "transfer_call")
    destinations: dict[str, str] = Field(default_factory=dict)
    any_destination: bool = False
    dial_after: str = ""
    parameters: dict[str, str] = Field(default_factory=dict)
    key_end: Annotated[str, Field(pattern="^[0-9*#A-D]?$")] = "#"
    key_seconds: Seconds = 2.5
    key_count: Annotated[int, Field(ge=0, le=64)] = 0
    key_words: str = "[keypad: {digits}]"
    control_seconds: Seconds = 10.0
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
