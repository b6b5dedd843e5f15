"""How a request can fail. Each is one message, so that it crosses a process boundary whole."""

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
    """The company has as many requests waiting as it may have. Send it again later."""

    retryable = True


class AdapterRefused(EngineError):
    """The adapter cannot be loaded, or its bytes are not those that the request names."""


class DeadlineExceeded(EngineError):
    """The request's deadline passed before its answer was complete."""


class Cancelled(EngineError):
    """The request was cancelled by its sender."""


class GenerationFailed(EngineError):
    """The computation broke: out of memory, numbers that are not finite, a grammar that other
    requests have used up."""


class EngineClosed(EngineError):
    """The engine is shutting down and takes or finishes nothing more."""

    retryable = True
