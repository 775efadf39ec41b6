"""Settings of the operator's pages: the `[admin]` section."""

from pydantic import field_validator

from voiceagent.section import KeySecret, Section


class AdminSection(Section):
    """The operator's view."""

    key: KeySecret | None = None
    """Opens `/admin`; without one there is no such page."""

    @field_validator("key")
    @classmethod
    def _empty_is_none(cls, key: KeySecret | None) -> KeySecret | None:
        return key if key is not None and key.get_secret_value() else None
