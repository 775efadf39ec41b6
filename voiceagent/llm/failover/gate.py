"""What an endpoint's limits allow, as the choice of an endpoint sees it."""

from typing import Protocol

from voiceagent.llm.base import Caller, Completed


class Pass(Protocol):
    """A request that was let through."""

    def settle(self, completed: Completed | None) -> None:
        """It is over: what it really used replaces the estimate; None when it failed or was given up. At most once."""
        ...


class LimitGate(Protocol):
    """Requests and tokens a minute of one endpoint, shared by all that use it."""

    @property
    def headroom(self) -> float:
        """The share of the limit that is left now, 0 to 1, as far as this process knows; 1 without limits."""
        ...

    async def enter(self, tokens: int, caller: Caller, seconds: float) -> Pass:
        """Wait for a turn, fairly between tenants and by priority, at most `seconds`. `tokens` is the estimate of what
        the request will use. Raises EngineError "rate_limited" when the turn does not come in time."""
        ...
