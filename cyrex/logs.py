"""Logs: one line an event, key=value on a terminal or in a file, bound to request, job or run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection

import structlog


class WithoutTicks(logging.Filter):
    """Keeps out Celery's word that a tick was sent, received and done, but no failure of one."""

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__()
        self._tasks = tasks

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO:
            return True
        # A worker says which task it is of here, beat in the last of its words.
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            return data.get("name") not in self._tasks
        words = record.args if record.name == "celery.beat" else ()
        return not (isinstance(words, tuple) and words and words[-1] in self._tasks)


def configure_logging(level: str = "INFO", ticks: Collection[str] = ()) -> None:
    """Send structlog and the standard library's loggers to stderr in one format.

    `ticks`: tasks that run every few seconds, told of at level DEBUG alone.
    """
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        stamp,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Plain: a rich traceback would print local variables, which hold companies' data.
                structlog.dev.ConsoleRenderer(
                    colors=sys.stderr.isatty(),
                    exception_formatter=structlog.dev.plain_traceback,
                ),
            ],
        )
    )
    if level != "DEBUG":
        handler.addFilter(WithoutTicks(ticks))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def one_line(error: BaseException) -> str:
    """An error's kind and the first line of its message, if it has one."""
    kind, message = type(error).__name__, str(error).strip()
    return f"{kind}: {message.splitlines()[0]}" if message else kind
