"""Tools that a vendor refuses: which one a refusal is about, and the request without it. Without I/O.

Tools are mended where they come in; vendors still differ in what they take for a schema, and one tool that a vendor
does not like would cost every request.
"""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from voiceagent.llm.base import LlmRequest, NamedTool, ToolSpec

_SCHEMA = re.compile(rb"(?i)schema|parameters|propert|function[_ ]?declaration|invalid[_ ]function")
_PLACE = re.compile(rb"(?:tools|function_?[dD]eclarations)[\[.](\d{1,4})\b(?!\]?\.function_?[dD]eclarations)")


def refused_tool(refusal: bytes, tools: Sequence[ToolSpec], without: Collection[str]) -> ToolSpec | None:
    """The tool whose schema the server refused with this answer; None where it is about something else."""
    if not _SCHEMA.search(refusal):
        return None
    offered = [tool for tool in tools if key(tool) not in without]
    for tool in offered:
        name = re.escape(tool.name.encode())
        if re.search(rb"(?i)(?:function|tool)[ :]*[\\'\"`]{1,3}" + name + rb"[\\'\"`]", refusal):
            return tool
    if (found := _PLACE.search(refusal)) is not None and int(found[1]) < len(offered):
        return offered[int(found[1])]
    return None


def without_tools(request: LlmRequest, refused: Collection[str]) -> LlmRequest:
    """The request without the tools that were refused."""
    if not refused or not request.tools:
        return request
    kept = tuple(tool for tool in request.tools if key(tool) not in refused)
    if len(kept) == len(request.tools):
        return request
    choice = request.tool_choice
    if not kept or (isinstance(choice, NamedTool) and all(tool.name != choice.name for tool in kept)):
        choice = "auto"
    return replace(request, tools=kept, tool_choice=choice)


def key(tool: ToolSpec) -> str:
    """The same for the same name and schema: a tool that was mended is another one."""
    schema = json.dumps(dict(tool.parameters or {}), sort_keys=True)
    return f"{tool.name}:{hashlib.sha256(schema.encode()).hexdigest()[:16]}"
