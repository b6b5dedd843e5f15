"""The agent on real parts: the shipped base model, Postgres, Valkey, and a tool over HTTP.

Tasks are called as a worker calls them, one at a time, so that a test sees what lies between.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cyrex.adapters.base_model import base_model_dir
from cyrex.engine import EngineConfig
from cyrex.serving import EngineProcess
from cyrex.tools import service as tool_registry
from database.session import company_session
from helox.render import ChatTemplate
from settings import get_settings
from tasks.inference import engine as inference
from tasks.workers import presence as worker
from tests.support import rows
from tests.support.agents import ORDER_TOOL, Shop
from tests.support.broker import use_broker
from tests.support.environment import forget_settings


@pytest.fixture(scope="session")
def loaded() -> Iterator[EngineProcess]:
    engine = EngineProcess(EngineConfig(get_settings().base_model_path))
    engine.wait_ready(180)
    yield engine
    engine.close(0)


@pytest.fixture(scope="module")
def work(loaded: EngineProcess, database_url: str, redis_url: str) -> Iterator[None]:
    """Make this process a worker of the inference queue."""
    use_broker(redis_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOL_ALLOWED_HOSTS", "127.0.0.1")
        forget_settings()
        patch.setattr(inference, "_engine", loaded)
        patch.setattr(inference, "_template", ChatTemplate.load(base_model_dir()))
        patch.setattr(worker, "_presence", worker.Presence("test", ["inference"], dict))
        yield
    forget_settings()


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()


@pytest.fixture
def company(work: None, shop: Shop) -> str:
    """A company with one tool."""
    company_id = rows.company("shop")
    definitions = tool_registry.parse_tools([{**ORDER_TOOL, "endpoint": shop.url}])
    with company_session(company_id) as session:
        tool_registry.register(session, company_id, definitions)
    return company_id
