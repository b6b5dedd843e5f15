"""Many adapters, one base model, one decode loop.

This package stands alone: it imports no other package of the product. The names below are plain
data and load no model library; `cyrex.engine.loop.Engine` loads torch and the base model.
"""

from cyrex.engine.config import EngineConfig
from cyrex.engine.errors import (
    AdapterRefused,
    Cancelled,
    DeadlineExceeded,
    EngineClosed,
    EngineError,
    GenerationFailed,
    GrammarRefused,
    PromptTooLong,
    QueueFull,
    RequestRefused,
)
from cyrex.engine.grammar import Grammar
from cyrex.engine.handle import Completion, Delta, EngineStats, Handle, ResidentAdapter
from cyrex.engine.request import AdapterKey, AdapterRef, Request, Sampling

__all__ = [
    "AdapterKey",
    "AdapterRef",
    "AdapterRefused",
    "Cancelled",
    "Completion",
    "DeadlineExceeded",
    "Delta",
    "EngineClosed",
    "EngineConfig",
    "EngineError",
    "EngineStats",
    "GenerationFailed",
    "Grammar",
    "GrammarRefused",
    "Handle",
    "PromptTooLong",
    "QueueFull",
    "Request",
    "RequestRefused",
    "ResidentAdapter",
    "Sampling",
]
