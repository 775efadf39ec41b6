"""Who may look at the server from within: the `[admin]` section."""

from voiceagent.section import KeySecret, Section


class AdminSection(Section):
    """`key` opens `/admin`; without it there is no such page."""

    key: KeySecret | None = None
