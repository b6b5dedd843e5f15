"""One whole stack for all acceptance tests, used over HTTP as a customer would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.client import Api
from embedded import Stack
from tests.acceptance.small_demo import SmallDemo, Table


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every process, on free ports."""
    folder = tmp_path_factory.mktemp("stack")
    # The tests' own folders are not the stack's.
    own = dict.fromkeys(
        ("DATA_DIR", "BLOB_DIR", "WORK_DIR", "ADAPTER_CACHE_DIR", "MODEL_REGISTRY_PATH"), ""
    )
    with Stack(
        folder, env={**own, "TRAINING_THREADS": "1", "TOOL_ALLOWED_HOSTS": "127.0.0.1"}
    ) as running:
        yield running


@pytest.fixture(scope="session")
def operator(stack: Stack) -> Api:
    environment = stack.environment
    key = Path(environment["CYREX_OPERATOR_KEY_FILE"]).read_text().strip()
    return Api(environment["CYREX_API_URL"], key)


@pytest.fixture(scope="session")
def undisturbed(operator: Api) -> Table:
    """The main job's table when nothing is killed."""
    return SmallDemo(operator).run()


@pytest.fixture
def new_company(operator: Api) -> Callable[[str], Api]:
    """Create a company; returns a client with its key."""

    def create(company_id: str) -> Api:
        answer = operator.post("/companies", {"company_id": company_id})
        return Api(operator.url, answer["api_key"])

    return create
