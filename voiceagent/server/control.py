"""What needs a vendor's own interface during a call: hanging up, transferring, sending digits."""

from typing import Protocol

from voiceagent.errors import VoiceagentError
from voiceagent.protocols.base import HangUp, SendDigits, Transfer


class ControlError(VoiceagentError):
    """The vendor refused, or could not be reached. The message is for the log and the model: no secret is in it."""


class CallControl(Protocol):
    async def carry_out(self, operation: HangUp | Transfer | SendDigits) -> None:
        """Within a deadline of its own. Raises ControlError."""
        ...
