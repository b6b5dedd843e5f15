"""A replaced tool may leave its name out; a change names known fields only."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from web.shapes.tools import EXAMPLE, ChangeTool, RegisterTools, ReplaceTool


def test_the_documented_example_is_a_tool() -> None:
    (tool,) = RegisterTools.model_validate({"tools": [EXAMPLE]}).tools
    assert tool.name == EXAMPLE["name"]


def test_only_a_replaced_tool_may_leave_its_name_out() -> None:
    nameless = {name: value for name, value in EXAMPLE.items() if name != "name"}
    assert ReplaceTool.model_validate(nameless).name == ""
    with pytest.raises(ValidationError, match="name"):
        RegisterTools.model_validate({"tools": [nameless]})


def test_a_change_names_known_fields_only() -> None:
    assert ChangeTool.model_validate({"description": "d"}).description == "d"
    with pytest.raises(ValidationError, match="colour"):
        ChangeTool.model_validate({"colour": "red"})


def test_no_tools_are_not_registered() -> None:
    with pytest.raises(ValidationError):
        RegisterTools.model_validate({"tools": []})
