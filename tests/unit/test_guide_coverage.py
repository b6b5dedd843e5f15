"""docs/guide-coverage.md is true: what it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from settings import REPOSITORY, Settings

TEXT = (REPOSITORY / "docs" / "guide-coverage.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ")]
TESTS = ("unit/", "integration/", "acceptance/")
# The names of the guide that a reader looks for; each stands in the page's first column.
NAMES = (
    *("LoRAAdapterService", "get_lora_service()", "request_adapter_training()", "load_adapter()"),
    *("get_adapter_for_company()", "list_adapters()", "CompanyDataAutomation"),
    *("get_automation_service()", "process_company_data()", "train_company_adapter()"),
    *("register_company_tools()", "POST /company-automation/process"),
    *("POST /company-automation/train-adapter", "GET /company-automation/adapters"),
    *("POST /company-automation/register-tools", "lora_training_requests", "lora_adapter_ready"),
    *("lora_adapter_requests", "company_automation_jobs", "lora_adapters", "company_tools"),
    *("BASE_MODEL_PATH", "ADAPTER_CACHE_DIR", "MODEL_REGISTRY_TYPE", "MLFLOW_TRACKING_URI"),
    *("S3_ENDPOINT_URL", "S3_BUCKET", "REDIS_URL"),
)


def named_tests() -> list[tuple[str, str]]:
    """(path, function or nothing) of every test."""
    return re.findall(r"`((?:unit|integration|acceptance)/[\w/.]+)(?:::(\w+)[^`]*)?`", TEXT)


def modules() -> list[str]:
    """Files and folders of the source."""
    found = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", TEXT))
    return sorted(place for place in found if not place.startswith(TESTS))


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_enough_tests_are_named() -> None:
    assert len(named_tests()) >= len(NAMES)


@pytest.mark.parametrize(("path", "function"), named_tests())
def test_a_named_test_is_there(path: str, function: str) -> None:
    place = REPOSITORY / "tests" / path
    if function:
        assert function in functions_of(place)
    elif place.is_dir():
        assert list(place.glob("test_*.py"))
    else:
        assert any(name.startswith("test_") for name in functions_of(place))


@pytest.mark.parametrize("place", modules())
def test_a_named_module_is_there(place: str) -> None:
    assert (REPOSITORY / place).exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_guide_has_its_row(name: str) -> None:
    assert any(f"`{name}`" in row.split("|")[1] for row in ROWS)


def test_every_variable_that_is_named_is_read() -> None:
    section = TEXT.partition("## Variables")[2]
    named = {word.lower() for word in re.findall(r"`([A-Z0-9_]+)`", section)}
    assert named
    assert named <= set(Settings.model_fields)
