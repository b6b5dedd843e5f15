"""Every table. Row-level security splits those that have a company by company."""

from database.base import Base
from database.models.adapters import AdapterAlias, Decision, LoraAdapter
from database.models.automation import Agent, CompanyMemory, CompanyTool, Job, JobStep, ToolCall
from database.models.companies import ApiKey, Company, IdempotencyKey, Usage
from database.models.data import Dataset, Example
from database.models.delivery import Canary, DeadLetter, Inbox, Outbox, WebhookDelivery, Worker
from database.models.training import (
    RetrainingSchedule,
    ScheduleFire,
    TrainingCheckpoint,
    TrainingEvent,
    TrainingRun,
)

__all__ = [
    "AdapterAlias",
    "Agent",
    "ApiKey",
    "Base",
    "Canary",
    "Company",
    "CompanyMemory",
    "CompanyTool",
    "Dataset",
    "DeadLetter",
    "Decision",
    "Example",
    "IdempotencyKey",
    "Inbox",
    "Job",
    "JobStep",
    "LoraAdapter",
    "Outbox",
    "RetrainingSchedule",
    "ScheduleFire",
    "ToolCall",
    "TrainingCheckpoint",
    "TrainingEvent",
    "TrainingRun",
    "Usage",
    "WebhookDelivery",
    "Worker",
]
