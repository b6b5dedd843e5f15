"""`CompanyDataAutomation`: process data, train on it and register tools, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from cyrex.adapters.gate import Promote
from cyrex.agents.service import get_agent
from cyrex.clients import Shared, check_servers, ensure_company, in_thread, until, written
from cyrex.jobs import service as jobs
from cyrex.jobs.new_job import DEFAULT_TASK_TYPE, NewJob, check_data
from cyrex.lora_adapter_service import LoRAAdapterService, get_lora_service
from cyrex.tools import service as tool_registry
from database.base import Json
from database.models import Job
from database.session import company_session
from database.transitions import JOB
from settings import get_settings
from synapse.outbox import announce
from synapse.payloads import JOB_REQUESTED
from synapse.streams import COMPANY_AUTOMATION_JOBS

# The fields of a job that the answer has.
SHOWN = ("job_id", "status", "result", "tool_results", "confidence", "adapter_id", "note", "error")


class CompanyDataAutomation:
    """Automation for all companies. Every method is a coroutine and blocks no event loop.

    A company that is not there yet is created when something is asked for it.
    """

    def __init__(self, lora_service: LoRAAdapterService | None = None) -> None:
        self._lora_service = lora_service

    async def initialize(self) -> None:
        """Raise what the database or Redis raises when it does not answer."""
        await in_thread(check_servers)

    async def process_company_data(
        self,
        company_id: str,
        data: Any,
        task_type: str = DEFAULT_TASK_TYPE,
        use_adapter: bool = True,
        *,
        agent_id: str | None = None,
        choices: Sequence[str] | None = None,
        wait: float | None = None,
    ) -> Json:
        """Run a job, asked for on `company_automation_jobs`, and wait for its end.

        Returns {job_id, status, result, tool_results, confidence, adapter_id, note, error}. `wait`
        is in seconds (default JOB_SECONDS); a job that has not ended by then goes on, and its
        status says how far it is. Raises `UserError` for what cannot be asked.
        """
        check_data(data)
        new = NewJob(company_id, data, task_type, use_adapter, agent_id=agent_id, choices=choices)
        seconds = get_settings().job_seconds if wait is None else wait
        await in_thread(partial(self._ask, new))
        ended = await until(partial(self._ended, company_id, new.job_id), seconds)
        view = ended or await in_thread(partial(self._view, company_id, new.job_id))
        # Between the event and the bridge there is no row yet.
        view = view or {"job_id": new.job_id, "status": "requested", "tool_results": []}
        return {name: view.get(name) for name in SHOWN}

    async def train_company_adapter(
        self,
        company_id: str,
        training_data: Sequence[Mapping[str, Any]],
        config: Mapping[str, Any] | None = None,
        *,
        validation_data: Sequence[Mapping[str, Any]] | None = None,
        replace: bool = False,
        promote: Promote = "evidence",
        continue_from: str | int | None = None,
    ) -> str:
        """Ask for an adapter trained on this data, as `request_adapter_training` does; returns the
        request's id."""
        service = self._lora_service or await get_lora_service()
        return await service.request_adapter_training(
            company_id,
            training_data,
            config,
            validation_data=validation_data,
            replace=replace,
            promote=promote,
            continue_from=continue_from,
        )

    async def register_company_tools(
        self, company_id: str, tools: Sequence[Mapping[str, Any]]
    ) -> list[Json]:
        """Insert or replace tools by name, all or none; returns them without their secrets."""
        return await in_thread(partial(_register, company_id, tools))

    # ---- in threads ----

    @staticmethod
    def _ask(new: NewJob) -> None:
        ensure_company(new.company_id)
        wanted: Json = {
            "job_id": new.job_id,
            "data": new.data,
            "task_type": new.task_type,
            "use_adapter": new.use_adapter,
            "agent_id": new.agent_id,
            "choices": new.choices,
        }

        def work(session: Session) -> None:
            if new.agent_id is not None:
                get_agent(session, new.company_id, new.agent_id)
            announce(
                session,
                COMPANY_AUTOMATION_JOBS,
                JOB_REQUESTED,
                new.company_id,
                wanted,
                correlation_id=new.job_id,
                source="python",
            )

        written(new.company_id, work)

    @staticmethod
    def _view(company_id: str, job_id: str) -> Json | None:
        with company_session(company_id) as session:
            job = session.get(Job, job_id)
            return None if job is None else jobs.job_view(job)

    def _ended(self, company_id: str, job_id: str) -> Json | None:
        view = self._view(company_id, job_id)
        return view if view is not None and view["status"] in JOB.terminal else None


def _register(company_id: str, raw: Sequence[Mapping[str, Any]]) -> list[Json]:
    definitions = tool_registry.parse_tools(list(raw))
    ensure_company(company_id)
    with company_session(company_id) as session:
        found = tool_registry.register(session, company_id, definitions)
    return [tool_registry.tool_view(tool) for tool in found]


_shared = Shared(CompanyDataAutomation, CompanyDataAutomation.initialize)


async def get_automation_service() -> CompanyDataAutomation:
    """The process's service, initialised."""
    service: CompanyDataAutomation = await _shared.get()
    return service
