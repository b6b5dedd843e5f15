"""Tests mirror the source: a/b/c.py has its test at a/b/test_c.py of unit or integration.

What has none stands here with its reason, so that the next module is not forgotten.
"""

from __future__ import annotations

from pathlib import Path

from settings import REPOSITORY

PACKAGES = (
    *("base_model", "cyrex", "database", "demo", "embedded", "helox", "modelkit", "synapse"),
    *("tasks", "web"),
)
KINDS = ("unit", "integration")

# Names, columns, shapes, classes of errors: nothing that a test could find wrong by itself.
PLAIN = {
    "cyrex/engine/errors.py",
    "cyrex/serving/errors.py",
    "database/models/adapters.py",
    "database/models/automation.py",
    "database/models/companies.py",
    "database/models/data.py",
    "database/models/delivery.py",
    "database/models/training.py",
    "helox/errors.py",
    "helox/page_style.py",
    "modelkit/errors.py",
    "modelkit/store.py",
    "web/shapes/datasets.py",
}
# Entry points that only call what has tests.
ENTRIES = {
    "demo/__main__.py",
    "embedded/__main__.py",
    "helox/__main__.py",
}
# Modules that only their neighbours call, and the test (under tests/) that runs them with those.
ELSEWHERE: dict[str, str] = {
    "cyrex/adapters/alias.py": "integration/cyrex/adapters/test_lifecycle.py",
    "cyrex/adapters/decisions.py": "integration/cyrex/adapters/test_lifecycle.py",
    "base_model/compute.py": "unit/base_model/test_pack.py",
    "base_model/diet/classify.py": "unit/base_model/test_diet.py",
    "base_model/diet/dialogue.py": "unit/base_model/test_diet.py",
    "base_model/diet/example.py": "unit/base_model/test_diet.py",
    "base_model/diet/extraction.py": "unit/base_model/test_diet.py",
    "base_model/diet/lexicon.py": "unit/base_model/test_diet.py",
    "base_model/diet/mixture.py": "unit/base_model/test_diet.py",
    "base_model/diet/opinions.py": "unit/base_model/test_diet.py",
    "base_model/diet/prose.py": "unit/base_model/test_diet.py",
    "base_model/diet/repeats.py": "unit/base_model/test_diet.py",
    "base_model/diet/rewriting.py": "unit/base_model/test_diet.py",
    "base_model/diet/sentiment.py": "unit/base_model/test_diet.py",
    "base_model/diet/toolcalls.py": "unit/base_model/test_diet.py",
    "base_model/diet/values.py": "unit/base_model/test_diet.py",
    "base_model/diet/words.py": "unit/base_model/test_diet.py",
    "base_model/export.py": "integration/base_model/test_artefact.py",
    "base_model/pretrain.py": "unit/base_model/test_pack.py",
    "base_model/probes.py": "integration/base_model/test_artefact.py",
    "base_model/sources.py": "integration/base_model/test_artefact.py",
    "base_model/wordnet.py": "unit/base_model/test_diet.py",
    "cyrex/chat/model_names.py": "integration/web/api/test_chat.py",
    "cyrex/chat/token_text.py": "integration/web/api/test_chat.py",
    "cyrex/datasets.py": "integration/web/api/test_datasets.py",
    "cyrex/engine/model.py": "integration/cyrex/engine/test_families.py",
    "cyrex/serving/child.py": "integration/cyrex/serving/test_process.py",
    "cyrex/serving/spawn.py": "integration/cyrex/serving/test_process.py",
    "cyrex/tenants/quotas.py": "integration/web/test_limits.py",
    "cyrex/tools/steps.py": "integration/tasks/steps/test_tools.py",
    "cyrex/work/news.py": "integration/cyrex/agents/test_state.py",
    "database/__main__.py": "integration/migrations/test_migrations.py",
    "modelkit/directory_store.py": "integration/modelkit/test_store_registry.py",
    "modelkit/download.py": "integration/modelkit/test_s3_store.py",
    "modelkit/s3_client.py": "integration/modelkit/test_s3_store.py",
    "synapse/group.py": "integration/synapse/test_consumer.py",
}
# Not mirrored yet: take a line out with each test that comes. None may be added.
PENDING: set[str] = {
    "base_model/real_model.py",
    "base_model/vocabulary.py",
    "cyrex/adapters/evaluation_arm.py",
    "cyrex/training/check_child.py",
    "cyrex/training/checkpoint_uploader.py",
    "cyrex/training/train_step.py",
    "cyrex/training/uploads.py",
    "helox/base_facts.py",
    "helox/check_command.py",
    "helox/checkpoint_files.py",
    "helox/file_kinds.py",
    "helox/files.py",
    "helox/fit.py",
    "helox/forms/chats.py",
    "helox/forms/conversation.py",
    "helox/forms/form.py",
    "helox/forms/messages.py",
    "helox/forms/others.py",
    "helox/forms/pairs.py",
    "helox/forms/schema_fit.py",
    "helox/forms/tool_rows.py",
    "helox/forms/tools.py",
    "helox/forms/values.py",
    "helox/gradients.py",
    "helox/json_text.py",
    "helox/labels.py",
    "helox/lineage.py",
    "helox/methods/method.py",
    "helox/methods/supervised.py",
    "helox/near.py",
    "helox/nesting.py",
    "helox/old_openai.py",
    "helox/page.py",
    "helox/publish.py",
    "helox/receipt.py",
    "helox/repeats.py",
    "helox/report.py",
    "helox/tables.py",
    "helox/vocabulary.py",
    "web/http/uploads.py",
}


def modules() -> list[str]:
    """Every module but a package's `__init__`, which gathers names."""
    found = (path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
    names = (path.relative_to(REPOSITORY).as_posix() for path in found)
    return sorted(name for name in names if not name.endswith("__init__.py"))


def mirrored(module: str) -> bool:
    path = Path(module)
    places = (REPOSITORY / "tests" / kind / path.parent / f"test_{path.name}" for kind in KINDS)
    return any(place.is_file() for place in places)


def excepted() -> list[str]:
    return sorted([*PLAIN, *ENTRIES, *ELSEWHERE, *PENDING])


def test_every_module_has_its_test_at_its_path() -> None:
    """A module that fails here needs a test; PLAIN, ENTRIES and ELSEWHERE list exceptions."""
    missing = [name for name in modules() if not mirrored(name)]
    assert sorted(set(missing) - set(excepted())) == []


def test_no_exception_is_made_in_vain() -> None:
    assert [name for name in excepted() if not (REPOSITORY / name).is_file()] == []
    assert [name for name in excepted() if mirrored(name)] == []
    assert [
        test for test in ELSEWHERE.values() if not (REPOSITORY / "tests" / test).is_file()
    ] == []


def test_no_test_imports_from_a_conftest() -> None:
    found = [
        f"{path.name}: {line}"
        for path in (REPOSITORY / "tests").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(("from ", "import ")) and "conftest" in line
    ]
    assert found == []
