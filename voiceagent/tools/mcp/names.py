"""What MCP servers call their tools, and what models may call them."""

import hashlib
import re
from collections.abc import Collection, Iterable

MOST_CHARS = 64
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]")


def offered(names: Iterable[str], prefix: str = "", taken: Collection[str] = ()) -> dict[str, str]:
    """The servers' names by those that are offered to models: letters, digits, _ and -, 64 at most, none twice and none
    that is taken. A name that fits is kept; what had to be changed ends with a hash of the real name wherever it is too
    long, means nothing any more or meets another. The same names always give the same."""
    found: dict[str, str] = {}
    changed: list[str] = []
    for name in dict.fromkeys(names):
        if (whole := prefix + name) not in taken and len(whole) <= MOST_CHARS and not _NOT_ALLOWED.search(whole):
            found[whole] = name
        else:
            changed.append(name)
    for name in sorted(changed):
        plain = _NOT_ALLOWED.sub("_", name)
        whole = prefix + plain
        if len(whole) > MOST_CHARS or not plain.strip("_") or whole in found or whole in taken:
            ending = f"_{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
            whole = f"{prefix}{plain.strip('_') or 'tool'}"[: MOST_CHARS - len(ending)] + ending
        found[whole] = name
    return found
