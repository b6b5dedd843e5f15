"""The engine's errors. Each carries one message alone, so that pickling keeps it whole."""

from __future__ import annotations


class EngineError(Exception):
    """Base of the engine's errors. `retryable`: the same request may succeed if sent again."""

    retryable = False


class RequestRefused(EngineError):
    """The request itself is wrong; the message names the field."""


class PromptTooLong(RequestRefused):
    """The prompt leaves no room for an answer within the context."""


class GrammarRefused(RequestRefused):
    """The grammar does not compile, or is too large; the message begins with `grammar:`."""


class QueueFull(EngineError):
    """The company has `max_waiting` requests waiting. Send it again later."""

    retryable = True


class AdapterRefused(EngineError):
    """The adapter cannot be loaded, or its SHA-256 is not the one in the request."""


class DeadlineExceeded(EngineError):
    """The request's deadline passed before its answer was complete."""


class Cancelled(EngineError):
    """The request was cancelled by its sender."""


class GenerationFailed(EngineError):
    """The computation failed: out of memory, numbers that are not finite, or a compiled grammar
    whose limits other requests have used up."""


class EngineClosed(EngineError):
    """The engine is shutting down: it takes no request and finishes none."""

    retryable = True
