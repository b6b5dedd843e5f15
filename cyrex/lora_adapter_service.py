"""`LoRAAdapterService`: ask for adapters, have them loaded, and see what there is, from Python."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from cyrex import datasets
from cyrex.adapters import service as adapters
from cyrex.adapters.gate import Promote
from cyrex.clients import Shared, check_servers, ensure_company, in_thread, until, written
from cyrex.errors import NotFound, UserError
from cyrex.training import service as training
from cyrex.training.check import VALIDATION, check_examples
from cyrex.training.order import TrainingOrder
from database.base import Json, new_id
from database.models import LoraAdapter
from database.session import company_session, operator_session
from database.transitions import ADAPTER
from settings import get_settings
from synapse.outbox import announce
from synapse.payloads import ADAPTER_READY, ADAPTER_REQUESTED
from synapse.streams import LORA_ADAPTER_READY, LORA_ADAPTER_REQUESTS

log = logging.getLogger(__name__)

LOAD_SECONDS = 60.0
# An outside adapter is fetched, and evaluated if it brings no receipt.
ARRIVAL_SECONDS = 600.0


class LoRAAdapterService:
    """Adapters of all companies. Every method that waits is a coroutine and blocks no event loop.

    base_model_path: the base model that adapters are asked for; must be the one that is served.
    adapter_cache_dir: made if it is not there; the workers' own is ADAPTER_CACHE_DIR.
    A company that is not there yet is created when something is asked for it.
    """

    def __init__(
        self,
        base_model_path: str | Path | None = None,
        adapter_cache_dir: str | Path | None = None,
    ) -> None:
        settings = get_settings()
        self.base_model_path = str(base_model_path or settings.base_model_path)
        self.adapter_cache_dir = Path(adapter_cache_dir or settings.adapter_cache_dir)

    async def initialize(self) -> None:
        """Raise what the database or Redis raises when it does not answer. May be called twice."""
        await in_thread(self._initialize)

    def _initialize(self) -> None:
        self.adapter_cache_dir.mkdir(parents=True, exist_ok=True)
        check_servers()

    async def request_adapter_training(
        self,
        company_id: str,
        training_data: Sequence[Mapping[str, Any]],
        config: Mapping[str, Any] | None = None,
        use_qlora: bool | None = None,
        *,
        validation_data: Sequence[Mapping[str, Any]] | None = None,
        replace: bool = False,
        promote: Promote = "evidence",
        continue_from: str | int | None = None,
    ) -> str:
        """Ask Helox, over `lora_training_requests`, for an adapter; returns the request's id.

        validation_data: rows to evaluate on, instead of a part of the others. replace: train
        without what the company sent before. promote: "always" lets the adapter serve whatever the
        gate finds. continue_from: the id or version of an adapter to start from.
        Raises `UserError` for data or settings that could not be trained.
        """

        def request() -> str:
            order = TrainingOrder(
                company_id,
                dict(config or {}),
                use_qlora,
                base_model=self.base_model_path,
                replace=replace,
                promote=promote,
                continue_from=continue_from,
                source="python",
            )
            checked = check_examples(training_data)
            own = (
                [] if validation_data is None else check_examples(validation_data, VALIDATION).lines
            )
            ensure_company(company_id)
            data = datasets.store(checked.lines, checked.report.counts(), own, replace)
            run = written(
                company_id, lambda session: training.request_training(session, order, data)
            )
            return str(run.request_id)

        return await in_thread(request)

    async def load_adapter(
        self,
        adapter_id: str,
        company_id: str,
        adapter_path: str | Path | None = None,
        timeout: float = LOAD_SECONDS,  # noqa: ASYNC109 - of another process's work
    ) -> bool:
        """Ask over `lora_adapter_requests` that the adapter be loaded, and wait until it is.

        adapter_path: the folder of an adapter that is unknown here; it is registered first, as if
        announced on `lora_adapter_ready`. False: no worker has loaded it within `timeout` seconds,
        or it was not fit to serve. Raises `NotFound` for an adapter that the company has not.
        """
        known = await in_thread(partial(self._status, company_id, adapter_id))
        if known is None:
            if adapter_path is None:
                raise NotFound(
                    "adapter_not_found", f"there is no adapter {adapter_id!r}", "adapter_id"
                )
            await in_thread(partial(self._announce_ready, company_id, adapter_id, adapter_path))
            arrived = partial(self._arrived, company_id, adapter_id)
            known = await until(arrived, max(timeout, ARRIVAL_SECONDS))
        if known in (None, "failed", "rejected", "retired", "deleted"):
            log.warning("adapter %s of %s is not loaded: %s", adapter_id, company_id, known)
            return False
        await in_thread(partial(self._request, company_id, adapter_id))
        where = partial(self._residence, company_id, adapter_id)
        return bool(await until(lambda: where() or None, timeout))

    async def get_adapter_for_company(self, company_id: str) -> Json | None:
        """The adapter that answers for the company, and under `resident` the workers that hold it.

        None while the company has none.
        """

        def look() -> Json | None:
            with company_session(company_id) as session:
                champion = adapters.champion_of(session, company_id)
                if champion is None:
                    return None
                pinned = adapters.pinned_ids(session, company_id)
                view = adapters.adapter_view(champion, {champion.adapter_id}, pinned)
            return {**view, "resident": self._residence(company_id, champion.adapter_id)}

        return await in_thread(look)

    async def list_adapters(
        self, company_id: str | None = None, status: str | None = None
    ) -> list[Json]:
        """Adapters, newest first; of all companies when none is named."""
        if status is not None and status not in ADAPTER.by_name:
            raise UserError("unknown_status", f"status: one of {', '.join(ADAPTER.by_name)}")

        def look() -> list[Json]:
            scope = operator_session() if company_id is None else company_session(company_id)
            with scope as session:
                champions = adapters.champion_ids(session, company_id)
                pinned = adapters.pinned_ids(session, company_id)
                rows: list[LoraAdapter] = []
                page = adapters.list_adapters(session, company_id, status)
                while page:
                    rows += page
                    page = adapters.list_adapters(
                        session, company_id, status, after=rows[-1].adapter_id
                    )
                return [adapters.adapter_view(row, champions, pinned) for row in rows]

        return await in_thread(look)

    # ---- in threads ----

    @staticmethod
    def _status(company_id: str, adapter_id: str) -> str | None:
        with company_session(company_id) as session:
            row = session.get(LoraAdapter, adapter_id)
            return None if row is None else str(row.status)

    def _arrived(self, company_id: str, adapter_id: str) -> str | None:
        status = self._status(company_id, adapter_id)
        return None if status in ("registered", "announced") else status

    @staticmethod
    def _announce_ready(company_id: str, adapter_id: str, folder: str | Path) -> None:
        ensure_company(company_id)
        data = {"adapter_id": adapter_id, "adapter_path": str(Path(folder).resolve())}

        def work(session: Session) -> None:
            announce(session, LORA_ADAPTER_READY, ADAPTER_READY, company_id, data, source="python")

        written(company_id, work)

    @staticmethod
    def _request(company_id: str, adapter_id: str) -> None:
        data = {"request_id": new_id(), "adapter_id": adapter_id}

        def work(session: Session) -> None:
            announce(
                session,
                LORA_ADAPTER_REQUESTS,
                ADAPTER_REQUESTED,
                company_id,
                data,
                event_id=data["request_id"],
                source="python",
            )

        written(company_id, work)

    @staticmethod
    def _residence(company_id: str, adapter_id: str) -> list[str]:
        with company_session(company_id) as session:
            return adapters.resident_on(session, company_id, adapter_id)


_shared = Shared(LoRAAdapterService, LoRAAdapterService.initialize)


async def get_lora_service() -> LoRAAdapterService:
    """The process's service, initialised."""
    service: LoRAAdapterService = await _shared.get()
    return service
