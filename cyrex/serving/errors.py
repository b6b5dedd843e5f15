"""What goes wrong with the engine's process itself."""

from __future__ import annotations

from cyrex.engine import EngineError


class EngineDied(EngineError):
    """The engine's process died with the request under way. Send it again: a new one starts."""

    retryable = True


class EngineStartError(EngineError):
    """The engine's process cannot start; the message names the base model and the cause."""
