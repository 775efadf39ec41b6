"""Firmware for devices: which image a device is offered."""

import hashlib
import logging
import struct
from collections.abc import Sequence
from fnmatch import fnmatchcase

from voiceagent.channels.xiaozhi.settings import FirmwareSection, dotted
from voiceagent.errors import ConfigError

log = logging.getLogger(__name__)

STEPS = 10_000
"""Of a roll-out: hundredths of a percent."""
_DESCRIPTION_AT = 32
"""Where an ESP-IDF app image tells of itself: after its header and the header of its first segment."""
_DESCRIPTION = struct.Struct("<I12x32s")
_DESCRIPTION_MAGIC = 0xABCD5432


def chosen(images: Sequence[FirmwareSection], device_id: str, board: str, version: str) -> FirmwareSection | None:
    """The image for this device, None when it has what it should have. A forced image is the only one that counts, the
    first of several: otherwise a device could be sent to and fro between two. Never one of the version it has."""
    running = dotted(version)
    if running is None:  # it would not survive the comparison
        return None
    place = share(device_id)
    fitting = [image for image in images if fnmatchcase(board, image.board) and place < image.percent]
    forced = next((image for image in fitting if image.force), None)
    if forced is not None:
        return forced if plain(forced.number) != plain(running) else None
    best = max(fitting, key=lambda image: plain(image.number), default=None)
    return best if best is not None and plain(best.number) > plain(running) else None


def share(device_id: str) -> float:
    """A device's place in every roll-out, in percent: those below its share are in. It stays the same for ever."""
    digest = hashlib.sha256(f"roll-out {device_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % STEPS / (STEPS / 100)


def plain(number: tuple[int, ...]) -> tuple[int, ...]:
    """Without zeros at its end: to us 2.4.0 is 2.4, while to the firmware it is newer."""
    while number and number[-1] == 0:
        number = number[:-1]
    return number


def check(images: Sequence[FirmwareSection]) -> None:
    """Reads the files' heads. Raises ConfigError for an image that is not there, or would be installed again at every
    boot because it names another version than the configuration."""
    for image in images:
        try:
            told = told_version(image)
        except OSError as error:
            raise ConfigError(f"[xiaozhi] firmware: {image.file} cannot be read ({error.strerror})") from None
        if told is None:
            log.warning("firmware %s: no app image of ESP-IDF, devices will refuse it", image.file.name)
        elif told != image.version:
            raise ConfigError(
                f"[xiaozhi] firmware: {image.file} says that it is version {told!r}, not {image.version}: "
                "devices would install it again at every boot"
            )


def told_version(image: FirmwareSection) -> str | None:
    """The version that the image holds and the device will report. Raises OSError."""
    with image.file.open("rb") as file:
        head = file.read(_DESCRIPTION_AT + _DESCRIPTION.size)
    if len(head) < _DESCRIPTION_AT + _DESCRIPTION.size:
        return None
    magic, version = _DESCRIPTION.unpack_from(head, _DESCRIPTION_AT)
    return version.split(b"\0")[0].decode("utf-8", "replace") if magic == _DESCRIPTION_MAGIC else None
