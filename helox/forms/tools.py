"""The tools of a row, in whichever of the usual ways they are written.

"tools": [{"type": "function", "function": {name, description, parameters}}]   OpenAI
"tools": [{"type": "function", "name", "description", "parameters"}]           Responses API
"tools": [{"name", "description", "parameters"}], "functions": [...]           before tools
"tools": "[...]"                                                               JSON text
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helox.calls import ordered_tools
from helox.errors import LineError
from helox.forms.conversation import Tools
from helox.forms.values import Row, from_json_text, without_nulls

# What a row may say of the choice of tools, and must say nothing else: it is what holds anyway.
CHOICES = {"tool_choice": "auto", "function_call": "auto"}


def tools_of(row: Row) -> Tools | None:
    """The tools on offer, in one form and order; None where there are none.

    Raises:
        LineError: names the field, and what is wrong with it.
    """
    for field, usual in CHOICES.items():
        if row.get(field) not in (None, "", usual):
            raise LineError(field, f'is not learned; leave it out, or say "{usual}"')
    given = [field for field in ("tools", "functions") if row.get(field)]
    if len(given) > 1:
        raise LineError("functions", "is the old name of tools; send one of them")
    return tools_from(row[given[0]], given[0]) if given else None


def tools_from(tools: Any, where: str = "tools") -> Tools | None:
    """See `tools_of`."""
    tools = from_json_text(tools, where)
    if isinstance(tools, Mapping) or not isinstance(tools, Sequence):
        raise LineError(where, "must be a list")
    cleaned = [_tool(tool, f"{where}[{i}]") for i, tool in enumerate(tools)]
    names = [tool["function"]["name"] for tool in cleaned]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise LineError(f"{where}[{i}].function.name", f"{name!r} is declared twice")
    return ordered_tools(cleaned) or None


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise LineError(f"{where}.function.name", "must be text")
    tool = without_nulls(tool)
    function = tool.get("function")
    if function is None and isinstance(tool.get("name"), str):
        function = {key: value for key, value in tool.items() if key != "type"}
        tool = {}
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise LineError(f"{where}.function.name", "must be text")
    if tool.get("type", "function") != "function":
        raise LineError(f"{where}.type", 'must be "function"')
    function = dict(function)
    if isinstance(function.get("parameters"), str):
        function["parameters"] = from_json_text(
            function["parameters"], f"{where}.function.parameters"
        )
    if not isinstance(function.get("parameters", {}), Mapping):
        raise LineError(f"{where}.function.parameters", "must be a JSON schema, an object")
    return {**tool, "function": function}
