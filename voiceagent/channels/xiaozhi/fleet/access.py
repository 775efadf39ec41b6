"""Access of xiaozhi devices: at boot they get a token, or are told how to get one; later they present it."""

import asyncio
import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voiceagent.channels.channel import ANYONE, ChannelHost, Denied
from voiceagent.channels.xiaozhi.fleet.boot import Boot, Proof
from voiceagent.channels.xiaozhi.fleet.firmware import check
from voiceagent.channels.xiaozhi.fleet.nodes import Nodes
from voiceagent.channels.xiaozhi.fleet.store import Asking, Speaker, SpeakerStore, StoreError
from voiceagent.channels.xiaozhi.fleet.tokens import Bearer, Tokens, WrongToken
from voiceagent.channels.xiaozhi.settings import XiaozhiSection

log = logging.getLogger(__name__)


# Devices that ask in a loop are answered slowly, so that they cost little; an error would lock them out.

MAX_KEYS = 20_000
"""Of which the pace is known; the one that asked longest ago is forgotten."""
LONGEST_SECONDS = 2.0
"""That an answer is held back."""
MAX_WAITING = 300
"""Answers that are held back at a time."""


class RequestPace:
    """`burst` answers at once, from then on `rate` a second, for each key by itself."""

    def __init__(self, burst: int, rate: float, clock: Callable[[], float] | None = None) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._free_at: OrderedDict[str, float] = OrderedDict()
        """When all of a key's burst is there again."""

    def delay(self, key: str) -> float:
        """Count an answer. Seconds by which it is too early, 0 for one in time."""
        now = self._clock()
        free_at = max(now, self._free_at.pop(key, now)) + 1 / self._rate
        early = free_at - now - self._burst / self._rate
        if early > LONGEST_SECONDS:  # what has waited as long as any does is counted as answered
            free_at -= early - LONGEST_SECONDS
        self._free_at[key] = free_at
        if len(self._free_at) > MAX_KEYS:
            self._free_at.popitem(last=False)
        return min(LONGEST_SECONDS, max(0.0, early))


class RequestBrake:
    """Holds answers back, but not more than MAX_WAITING of them."""

    def __init__(self) -> None:
        self._waiting = 0

    async def hold(self, seconds: float) -> bool:
        """False when too many wait already."""
        if seconds <= 0:
            return True
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1
        return True


READY_SECONDS = 5.0
"""That a device waits for the file of devices to be opened."""
REVOKED_SECONDS = 1.0
"""Until a token that the command line revoked counts no more."""
ALL_TENANTS = None
LOADING = Denied(503, "server_loading", "the devices' file is not open yet", retry_after=2)
FAILED = Denied(503, "store_failed", "the devices' file cannot be used now", retry_after=10)


@dataclass(frozen=True, slots=True)
class BootAnswer:
    """What a device is told at its boot. `token` "" lets it in nowhere. `challenge` is there while it has to be
    activated: by `code`, unless that is "", or by its serial number's key."""

    token: str
    code: str = ""
    challenge: str = ""


class Fleet:
    """Everything the server knows of xiaozhi devices. `run()` opens and keeps it."""

    def __init__(self, host: ChannelHost, section: XiaozhiSection) -> None:
        self._host = host
        self._section = section
        self.access = section.access or ("code" if host.keys_required else "open")
        self.nodes = Nodes(section.nodes)
        self.store = SpeakerStore(Path(section.path) if section.path else None)
        self._tokens: Tokens | None = None
        self._warned = False
        self._ready = asyncio.Event()

    @property
    def tenant(self) -> str:
        """Who pays for a device that nobody else was named for."""
        return self._section.tenant or ANYONE

    async def run(self) -> None:
        """Until cancelled. Raises ConfigError for what cannot be used."""
        check(self._section.firmware)
        try:
            await self.store.open()
            self._tokens = Tokens(await self._secrets())
            await self.refresh()
            self._ready.set()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.nodes.watch())
                tasks.create_task(self._watch_revoked())
        finally:
            await self.store.close()

    async def _secrets(self) -> list[bytes]:
        section = self._section
        own = await self.store.secret() if section.secret is None else section.secret.get_secret_value().encode()
        return [own, *(old.get_secret_value().encode() for old in section.old_secrets)]

    def _warn_once(self) -> None:
        """Only a server that devices really ask needs to keep what it gives them."""
        forgets = self._section.secret is None and not self._section.path
        if forgets and self.access != "open" and not self._warned:
            self._warned = True
            log.warning("[xiaozhi] has no path: after a restart every device has to boot again")

    async def refresh(self) -> None:
        """See what was revoked."""
        revoked = await self.store.revoked()
        if revoked is not None and self._tokens is not None:
            self._tokens.revoked = revoked

    async def _watch_revoked(self) -> None:
        while True:
            await asyncio.sleep(REVOKED_SECONDS)
            try:
                await self.refresh()
            except StoreError as error:
                log.warning("%s", error)

    async def ready(self) -> None:
        """Wait for it, not for long."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            pass

    # -- a device talks ---------------------------------------------------------------------------------------------

    def identify(self, bearer: Bearer, token: str) -> str:
        """Who pays for this device. Without a database: the token says it. Raises Denied 401.

        In an open house a token that nobody here has made is as good as none: devices keep those of another server, or
        of this one before it lost its secret, until they boot."""
        try:
            tenant = self._known_tokens().tenant(bearer, token)
        except WrongToken:
            log.info("speaker %s: refused, its token is wrong or was revoked", bearer.device_id)
            raise Denied(401, "invalid_device_token", "the device's token is wrong or was revoked") from None
        if tenant is not None:
            return tenant
        if self._host.keys_required:
            return self._host.check_key(f"Bearer {token}" if token else None)
        if self.access == "open":
            return self.tenant
        log.info("speaker %s: refused, it has no token", bearer.device_id)
        raise Denied(401, "invalid_device_token", "the device has no token of this server")

    # -- a device boots ---------------------------------------------------------------------------------------------

    async def boot(self, boot: Boot) -> BootAnswer:
        """Raises Denied 503."""
        tokens, bearer = self._known_tokens(), Bearer(boot.device_id, boot.client_id)
        if not boot.device_id:
            return BootAnswer("")
        self._warn_once()
        asking = Asking(boot.device_id, boot.client_id, boot.serial, boot.board, boot.version)
        listed = self.tenant if self._lists(boot.device_id) else None
        try:
            speaker, epoch = await self.store.ask(asking, with_code=self.access == "code", listed=listed)
        except StoreError as error:
            log.warning("%s", error)
            if self.access != "open":
                raise FAILED from None
            return BootAnswer(tokens.issue(bearer, self.tenant, tokens.revoked.get(boot.device_id, 0)))
        if self._lets_in(speaker):
            log.info("speaker %s: boots", boot.device_id)
            return BootAnswer(tokens.issue(bearer, self._tenant_of(speaker), epoch))
        if self.access == "code" or self._key(speaker):
            log.info("speaker %s: waits for its activation", boot.device_id)
            return BootAnswer("", speaker.code or "", speaker.challenge)
        log.info("speaker %s: not on the list", boot.device_id)
        return BootAnswer("")

    async def activate(self, bearer: Bearer, proof: Proof) -> bool:
        """A device asks whether it has been let in. Raises Denied 403 for a wrong proof, 503."""
        self._known_tokens()
        if self.access == "open":
            return True
        try:
            speaker = await self.store.find(bearer.device_id, bearer.client_id)
            key = self._key(speaker) if speaker else None
            if speaker and key and not speaker.proven:
                if not proof.right(key, speaker.challenge):
                    raise Denied(403, "wrong_proof", "this is not the key of the serial number")
                lets_in = self.access == "list" and speaker.standing == "unknown"
                await self.store.prove(bearer.device_id, bearer.client_id, self.tenant if lets_in else None)
                await self.refresh()
                speaker = await self.store.find(bearer.device_id, bearer.client_id)
        except StoreError as error:
            log.warning("%s", error)
            raise FAILED from None
        return speaker is not None and self._lets_in(speaker)

    def _lists(self, device_id: str) -> bool:
        return self.access != "open" and device_id in self._section.allow

    def _key(self, speaker: Speaker) -> str | None:
        """Of its serial number, if that is known."""
        key = self._section.serial_keys.get(speaker.serial)
        return key.get_secret_value() if key is not None else None

    def _lets_in(self, speaker: Speaker) -> bool:
        if self.access == "open":
            return True
        known = speaker.standing == "allowed" or (speaker.standing == "listed" and self._lists(speaker.device_id))
        return known and (speaker.proven or self._key(speaker) is None)

    def _tenant_of(self, speaker: Speaker) -> str:
        return speaker.tenant if speaker.standing == "allowed" else self.tenant

    def _known_tokens(self) -> Tokens:
        if self._tokens is None:
            raise LOADING
        return self._tokens

    # -- operators --------------------------------------------------------------------------------------------------

    def operator(self, authorization: str | None) -> str | None:
        """The tenant that may see and change its own devices; None may do so with all. Raises Denied."""
        admin, keys = self._section.admin_key, self._host.keys_required
        scheme, _, presented = (authorization or "").partition(" ")
        known = admin.get_secret_value().encode() if admin is not None and scheme.lower() == "bearer" else b""
        if known and hmac.compare_digest(known, presented.strip().encode()):
            return ALL_TENANTS
        if admin is None and not keys:
            raise Denied(403, "no_operators", "neither [xiaozhi] admin_key nor [limits] api_keys is configured")
        if not keys:
            raise Denied(401, "invalid_admin_key", "the key is missing or wrong")
        return self._host.check_key(authorization)
