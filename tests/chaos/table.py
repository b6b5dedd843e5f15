"""The processes of the chaos stack: the product's, two of some, with kill points in all."""

from __future__ import annotations

import dataclasses

from embedded.stack import processes
from embedded.stack.processes import Context
from embedded.supervisor.spec import ProcessSpec

ARMED = ("-I", "tests.chaos.armed_worker")
PRODUCT_APP, ARMED_APP = "web:create_app()", "tests.chaos.armed_web:create_app()"


def table(context: Context) -> list[ProcessSpec]:
    """Two of each that does others' work: what one was at when it died, the other goes on with. Two
    beats, whose double ticks must do no harm."""
    workers = [
        processes.worker(context, "inference", "inference", "threads", 64),
        processes.worker(context, "inference2", "inference", "threads", 64),
        processes.worker(context, "training", "training", "prefork", 1),
        processes.worker(context, "training2", "training", "prefork", 1),
        processes.worker(context, "bridge", "bridge,maintenance", "threads", 8),
        processes.worker(context, "bridge2", "bridge,maintenance", "threads", 8),
        processes.worker(context, "tools", "tools", "threads", 16),
    ]
    web = processes.web(context)
    command = tuple(ARMED_APP if word == PRODUCT_APP else word for word in web.command)
    assert command != web.command, "the API is started in another way by now"
    beat = processes.beat(context)
    schedule = str(context.layout.run / "beat2-schedule")
    second = processes.celery("beat", "--schedule", schedule)
    return [
        *processes.set_up(context),
        *[dataclasses.replace(each, command=each.command + ARMED) for each in workers],
        dataclasses.replace(web, command=command),
        beat,
        dataclasses.replace(beat, name="beat2", command=second),
    ]
