"""What a function's docstring tells a model: what the function does, and what its parameters are."""

import inspect
import re
from collections.abc import Callable

_HEADING = re.compile(r"(args|arguments|parameters|params|参数|參數)\s*[:：]\s*", re.IGNORECASE)
_OTHER = re.compile(
    r"(returns?|yields?|raises|examples?|notes?|attributes|返回|返回值|抛出|异常|示例)\s*[:：]\s*", re.IGNORECASE
)
_PARAMETER = re.compile(r"\*{0,2}(\w+)\s*(?:[(（][^)）]*[)）])?\s*[:：]\s*(.*)")
_FIELD = re.compile(r":(?:param|parameter|arg)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_OTHER_FIELD = re.compile(r":\w+[^:]*:.*")


def described(function: Callable[..., object]) -> tuple[str, dict[str, str]]:
    """The description and those of the parameters. They may stand below a line `Args:`, indented, as `name: what`, or
    in lines `:param name: what`; a parameter's text may go on in lines that are indented further."""
    text: list[str] = []
    parameters: dict[str, str] = {}
    inside = False
    """Whether this is the list of parameters, or another section after the text."""
    names, current, indent = False, "", 0
    for line in (inspect.getdoc(function) or "").splitlines():
        stripped = line.strip()
        margin = len(line) - len(line.lstrip())
        if field := _FIELD.fullmatch(stripped):
            inside, names, current, indent = True, False, field[1], margin
            parameters[current] = field[2]
        elif margin == 0 and (_HEADING.fullmatch(stripped) or _OTHER.fullmatch(stripped)):
            inside, names, current, indent = True, _HEADING.fullmatch(stripped) is not None, "", 0
        elif margin == 0 and _OTHER_FIELD.fullmatch(stripped):
            inside, names, current = True, False, ""
        elif current and margin > indent and stripped:
            parameters[current] = f"{parameters[current]} {stripped}".strip()
        elif names and margin and (parameter := _PARAMETER.fullmatch(stripped)):
            current, indent = parameter[1], margin
            parameters[current] = parameter[2]
        elif stripped and margin == 0 and inside and not names:
            inside, current = False, ""
            text.append(stripped)
        elif not inside:
            text.append(stripped)
    return "\n".join(text).strip(), parameters
