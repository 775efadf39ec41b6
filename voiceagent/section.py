"""What every section of the settings is made of. Its options are checked here, so that a slip is named at the start."""

from typing import Annotated

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Milliseconds = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


def web_address(value: str) -> str:
    """An endpoint's address without a slash at its end. Raises ValueError when it is none of http or https."""
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        raise ValueError("not a web address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must begin with http:// or https:// and name a host")
    return value.rstrip("/")


WebAddress = Annotated[str, AfterValidator(web_address)]


class Section(BaseModel):
    """A table of the TOML file: unknown keys are errors, nothing is changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
