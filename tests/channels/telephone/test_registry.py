"""Adding a telephone vendor: one file, or one entry point of another package; the settings, the server and its routes
know it from then on."""

import asyncio
import json
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import create_model
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.llm.server import ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor
from voiceagent.channels.telephone import vendors
from voiceagent.channels.telephone.registry import TelephoneSection, installed_vendors, section_of
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.errors import ConfigError
from voiceagent.settings import Settings

ACME = '''
"""Acme: a stream in Twilio's words but for its marks, at `/acme`."""

from dataclasses import dataclass

from pydantic import SecretStr

from voiceagent.channels.telephone.auth import secret_presented
from voiceagent.channels.telephone.media_stream.protocol import MediaStreamProtocol, Message, StreamDialect
from voiceagent.channels.telephone.pages import Pages, connect_verb, xml_response
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import Vendor


class AcmeSection(VendorSection):
    token: SecretStr | None = None


@dataclass(frozen=True)
class AcmeDialect(StreamDialect):
    vendor: str = "acme"
    id: str = "callRef"

    def mark(self, stream: str, name: str) -> Message:
        return {"event": "tell", "when": name}


VENDOR = Vendor(
    "acme",
    AcmeSection,
    connect=lambda section, websocket, options: MediaStreamProtocol(AcmeDialect(), options),
    verify=lambda section, request: secret_presented(section.token, [request.headers.get("x-acme-token", "")]),
    pages=Pages(answer=lambda section, call: xml_response(connect_verb(call.stream_url, {}))),
)
'''
START = {"event": "start", "start": {"callSid": "A1", "streamSid": "S1", "from": "+15551234"}}
SERVER = """
    from voiceagent.channels.telephone import registry
    print(sorted(set(registry.TelephoneSection.model_fields) & {"acme", "twilio"}))
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The vendor's one file, where the package looks for vendors."""
    (tmp_path / "acme.py").write_text(ACME)
    monkeypatch.setattr(vendors, "__path__", [*vendors.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{vendors.__name__}.acme", raising=False)
    return tmp_path


def test_every_vendor_is_found_by_its_file() -> None:
    assert {vendor.name for vendor in installed_vendors()} >= {
        "asterisk", "audiosocket", "exotel", "freeswitch", "genesys", "jambonz", "plivo", "signalwire", "telnyx",
        "twilio", "vonage",
    }  # fmt: skip
    for vendor in installed_vendors():
        assert issubclass(vendor.section, VendorSection)
        assert isinstance(TelephoneSection().section(vendor.name), vendor.section)


@pytest.mark.real
async def test_a_vendor_is_added_by_one_file(acme: Path, engines_for: EnginesFor) -> None:
    section = section_of(installed_vendors(), TelephoneSection)
    kind: type[Settings] = create_model("AcmeSettings", __base__=Settings, telephone=(section, section()))
    settings = kind.model_validate({"telephone": {"greeting": "Hello.", "acme": {"token": "right-token"}}})
    async with (
        ScriptedLlm(["Hi."]) as llm,
        running(settings, engines_for(llm.base_url)) as (_, url),
    ):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}/acme")
        assert refused.value.response.status_code == 403
        async with connect(f"{url}/acme", additional_headers={"x-acme-token": "right-token"}) as call:
            await call.send(json.dumps(START))
            told: list[str] = []
            async with asyncio.timeout(20):
                while not told or "tell" not in told[-1]:
                    told.append(await call.recv(decode=True))
        assert json.loads(told[0])["callRef"] == "S1"
        assert "payload" in told[0]


async def test_a_vendor_of_another_package_is_an_entry_point(tmp_path: Path) -> None:
    (tmp_path / "acme_telephones.py").write_text(ACME)
    package = tmp_path / "acme_telephones-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-telephones\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[voiceagent.telephone]\nacme = acme_telephones:VENDOR\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(SERVER),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
    assert output.decode().strip() == "['acme', 'twilio']"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("VENDOR = 7", "acme is no telephone vendor"),
        ("", "acme is no telephone vendor"),
        (ACME.replace('    "acme",', '    "twilio",'), "there is a telephone vendor 'twilio' already"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_vendor_is_one_clear_error(acme: Path, text: str, message: str) -> None:
    (acme / "acme.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        installed_vendors()
