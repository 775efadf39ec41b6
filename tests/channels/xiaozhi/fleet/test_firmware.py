"""Which firmware a device is offered, and to how many."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.xiaozhi.boot import numbers
from voiceagent.channels.xiaozhi.fleet.firmware import check, chosen, share
from voiceagent.channels.xiaozhi.settings import FirmwareSection, XiaozhiSection
from voiceagent.errors import ConfigError

VERSIONS = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
FLEET = [f"a0:b1:c2:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}" for number in range(10_000)]


def image(version: str, board: str = "*", percent: float = 100.0, *, force: bool = False) -> FirmwareSection:
    return FirmwareSection(board=board, version=version, file=Path(f"{version}.bin"), percent=percent, force=force)


def offered(images: list[FirmwareSection], version: str, board: str = "bread", mac: str = "a0") -> str | None:
    found = chosen(images, mac, board, version)
    return found.version if found else None


@pytest.mark.parametrize(
    ("running", "told"),
    [("2.4.2", "2.4.10"), ("2.4.10", None), ("2.4.9", "2.4.10"), ("2.5", None), ("1", "2.4.10"), ("2.4.10.0", None)],
)
def test_only_what_is_newer(running: str, told: str | None) -> None:
    assert offered([image("2.4.10"), image("2.4.3")], running) == told


def test_by_board() -> None:
    images = [image("2.5.0", "bread-*"), image("2.6.0", "lichuang")]
    assert offered(images, "2.4", "bread-compact-wifi") == "2.5.0"
    assert offered(images, "2.4", "lichuang") == "2.6.0"
    assert offered(images, "2.4", "lichuang-c3") is None
    assert offered(images, "2.4", "") is None


def test_a_forced_one_goes_back_too_and_is_installed_once() -> None:
    images = [image("2.6.0"), image("2.3.0", force=True)]
    assert offered(images, "2.5.0") == "2.3.0"
    assert offered(images, "2.3.0") is None  # not 2.6.0, which would be taken back again
    assert offered(images, "2.3") is None


@given(st.lists(st.tuples(VERSIONS, st.booleans(), st.integers(0, 100)), max_size=5), VERSIONS, st.sampled_from(FLEET))
def test_a_device_comes_to_rest_after_one_upgrade(told: list[tuple[str, bool, int]], version: str, mac: str) -> None:
    images = [image(number, force=force, percent=percent) for number, force, percent in told]
    first = chosen(images, mac, "bread", version)
    if first is not None:
        assert first.force or numbers(first.version) > numbers(version)  # so it does install it
        assert chosen(images, mac, "bread", first.version) is None


def test_a_staged_roll_out_reaches_its_share_and_keeps_it() -> None:
    sizes = {}
    reached: set[str] = set()
    for percent in (0, 1, 10, 50, 100):
        now = {mac for mac in FLEET if offered([image("3.0", percent=percent)], "2.4", mac=mac)}
        assert reached <= now
        reached = now
        sizes[percent] = len(now)
    assert sizes[0] == 0
    assert 60 <= sizes[1] <= 140
    assert 900 <= sizes[10] <= 1100
    assert 4800 <= sizes[50] <= 5200
    assert sizes[100] == len(FLEET)
    assert share(FLEET[0]) == 54.06  # it must never change: devices would fall out of a roll-out


@pytest.mark.parametrize("version", ["v1.2", "1.2-beta", "1..2", "", "1.", "1.99999999999", "١.٢", " 1.2"])
def test_versions_that_would_crash_the_firmware(version: str) -> None:
    with pytest.raises(ValueError, match="numbers with dots"):
        image(version)
    assert offered([image("9.9")], version) is None


@pytest.mark.parametrize("name", ["../up.bin", "/x/.hidden", "a b.bin", "a?b.bin", "固件.bin", "x" * 101])
def test_a_file_s_name_fits_an_address(name: str) -> None:
    if name == "../up.bin":  # a path is fine, only its last part is told
        assert FirmwareSection(board="*", version="1.0", file=Path(name)).file.name == "up.bin"
        return
    with pytest.raises(ValueError, match="name"):
        FirmwareSection(board="*", version="1.0", file=Path(name))


def test_two_files_of_one_name_are_a_slip() -> None:
    two = tuple(FirmwareSection(board="*", version="1.0", file=Path(folder) / "app.bin") for folder in ("a", "b"))
    with pytest.raises(ValueError, match="same name"):
        XiaozhiSection(firmware=two)
    XiaozhiSection(firmware=(two[0], two[0]))


def test_an_image_of_another_version_than_configured_is_found_at_the_start(tmp_path: Path) -> None:
    head = bytes(32) + (0xABCD5432).to_bytes(4, "little") + bytes(12) + b"2.5.0".ljust(32, b"\0")
    (tmp_path / "app.bin").write_bytes(head)
    (tmp_path / "merged.bin").write_bytes(bytes(5000))
    (tmp_path / "short.bin").write_bytes(b"")

    def named(name: str, version: str) -> FirmwareSection:
        return FirmwareSection(board="*", version=version, file=tmp_path / name)

    check([named("app.bin", "2.5.0"), named("merged.bin", "1.0"), named("short.bin", "1.0")])
    with pytest.raises(ConfigError, match=r"2\.5\.0.*not 2\.5\.1"):
        check([named("app.bin", "2.5.1")])
    with pytest.raises(ConfigError, match="cannot be read"):
        check([named("none.bin", "2.5.1")])
