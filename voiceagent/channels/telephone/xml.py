"""What vendors are told to do with a call: connect it to our stream, or dial somebody. XML, or JSON for jambonz."""

import json
import re
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

HEADER = '<?xml version="1.0" encoding="UTF-8"?>'
_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")
PLIVO_HEADER_BYTES = 512


def dial_xml(destination: str, vendor: str = "twilio") -> str:
    return f"{HEADER}<Response>{_dial(destination, vendor)}</Response>"


def _dial(destination: str, vendor: str) -> str:
    if not destination:
        return ""
    sip = "User" if vendor == "plivo" else "Sip"
    kind = sip if destination.startswith("sip") else "Number"
    return f"<Dial><{kind}>{escape(destination)}</{kind}></Dial>"


def stream_xml(vendor: str, url: str, parameters: Mapping[str, str], after: str) -> str:
    """Connect the call to the stream; when that ends, dial `after` ("": the call ends)."""
    stream = _plivo_stream(url, parameters) if vendor == "plivo" else _connect(vendor, url, parameters)
    return f"{HEADER}<Response>{stream}{_dial(after, vendor)}</Response>"


def _connect(vendor: str, url: str, parameters: Mapping[str, str]) -> str:
    more = ' bidirectionalMode="rtp" bidirectionalCodec="PCMU"' if vendor == "telnyx" else ""
    inner = "".join(
        f"<Parameter name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in parameters.items()
    )
    return f"<Connect><Stream url={quoteattr(url)}{more}>{inner}</Stream></Connect>"


def _plivo_stream(url: str, parameters: Mapping[str, str]) -> str:
    """Plivo takes letters and digits only, 512 bytes of them."""
    pairs: list[str] = []
    for name, value in parameters.items():
        pair = f"{_NOT_ALPHANUMERIC.sub('', name)}={_NOT_ALPHANUMERIC.sub('', value)}"
        if len(",".join([*pairs, pair])) <= PLIVO_HEADER_BYTES:
            pairs.append(pair)
    headers = f" extraHeaders={quoteattr(','.join(pairs))}" if pairs else ""
    return (
        '<Stream bidirectional="true" keepCallAlive="true" contentType="audio/x-mulaw;rate=8000"'
        f"{headers}>{escape(url)}</Stream>"
    )


def jambonz_verbs(url: str | None, parameters: Mapping[str, str], dial: str) -> str:
    """The same for jambonz; without a URL it only dials."""
    verbs: list[dict[str, object]] = []
    if url is not None:
        verbs.append(
            {
                "verb": "listen",
                "url": url,
                "actionHook": "",
                "mixType": "mono",
                "sampleRate": 8000,
                "passDtmf": True,
                "bidirectionalAudio": {"enabled": True, "streaming": True, "sampleRate": 8000},
                "metadata": dict(parameters),
            }
        )
    if dial:
        target = {"type": "sip", "sipUri": dial} if dial.startswith("sip") else {"type": "phone", "number": dial}
        verbs.append({"verb": "dial", "target": [target]})
    return json.dumps(verbs)
