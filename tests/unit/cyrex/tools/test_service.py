"""Definitions of tools given as JSON: what is wrong is named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from cyrex.errors import UserError
from cyrex.tools.service import parse_tools


@pytest.mark.parametrize(("fields", "param", "message"), WRONG)
def test_a_wrong_field_is_named_with_its_index(
    fields: dict[str, Any], param: str, message: str
) -> None:
    with pytest.raises(UserError) as refused:
        parse_tools([TOOL, {**TOOL, **fields}])
    assert refused.value.param == f"tools[1].{param}"
    assert message in refused.value.message


def test_what_is_no_object_is_named() -> None:
    with pytest.raises(UserError) as refused:
        parse_tools([TOOL, "crm"])
    assert refused.value.param == "tools[1]"
