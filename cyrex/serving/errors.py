"""Errors of the engine's process."""

from __future__ import annotations

from cyrex.engine import EngineError


class EngineDied(EngineError):
    """The engine's process died during the request. Send it again: a new process starts."""

    retryable = True


class EngineStartError(EngineError):
    """The engine's process cannot start; the message names the base model and the cause."""
