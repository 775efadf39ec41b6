"""The telephone vendors that are there: found, composed to the `[telephone]` settings, and put on the server.

A vendor is one file in `vendors/` that defines `VENDOR`, or a `Vendor` that another package offers as an entry point of
the group `voiceagent.telephone`.
"""

import asyncio
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from pydantic import create_model

from voiceagent.channels.channel import Channel, ChannelHost
from voiceagent.channels.telephone import vendors
from voiceagent.channels.telephone.settings import CallSection, VendorSection
from voiceagent.channels.telephone.vendor import AnyVendor, Vendor, VendorRoutes
from voiceagent.errors import ConfigError

GROUP = "voiceagent.telephone"


def installed_vendors() -> list[AnyVendor]:
    """All of them, ours in the order of their files. Raises ConfigError for one that is none or has another's name."""
    offered: list[tuple[str, object]] = []
    for module in pkgutil.iter_modules(vendors.__path__):
        path = f"{vendors.__name__}.{module.name}"
        offered.append((path, getattr(import_module(path), "VENDOR", None)))
    offered += [(entry.value, entry.load()) for entry in entry_points(group=GROUP)]
    found: dict[str, AnyVendor] = {}
    for where, vendor in offered:
        if not isinstance(vendor, Vendor):
            raise ConfigError(
                f"{where} is no telephone vendor: a voiceagent.channels.telephone.vendor.Vendor is wanted"
            )
        if vendor.name in found:
            raise ConfigError(f"{where}: there is a telephone vendor {vendor.name!r} already")
        found[vendor.name] = vendor
    return list(found.values())


def section_of(known: Iterable[AnyVendor], base: type[CallSection] = CallSection) -> type[CallSection]:
    """`[telephone]`, with a table for each of these vendors."""
    tables = {vendor.name: (vendor.section, vendor.section()) for vendor in known}
    composed: type[CallSection] = create_model(  # type: ignore[call-overload]
        "TelephoneSection", __base__=base, __module__=__name__, __doc__=base.__doc__, **tables
    )
    return composed


if TYPE_CHECKING:

    class TelephoneSection(CallSection):
        """`[telephone]`: a type checker cannot know which vendors there are."""

        def __init__(self, **tables: object) -> None: ...

        def __getattr__(self, vendor: str) -> VendorSection: ...

else:
    TelephoneSection = section_of(installed_vendors())


def channel(host: ChannelHost, settings: CallSection) -> Channel:
    """All vendors' routes and ports."""
    channels = [
        VendorRoutes(host, vendor, settings, settings.section(vendor.name)).channel() for vendor in installed_vendors()
    ]
    runs = [one.run for one in channels if one.run is not None]

    async def run() -> None:
        await _run_all(runs)

    return Channel([route for one in channels for route in one.routes], run if runs else None)


async def _run_all(runs: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Until one fails, whose error is raised, or until cancelled."""
    tasks = [asyncio.ensure_future(run()) for run in runs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
