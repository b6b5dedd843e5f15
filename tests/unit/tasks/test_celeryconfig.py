"""The settings that the promises of the tasks rest on."""

from __future__ import annotations

import subprocess
import sys

import celeryconfig
from settings import REPOSITORY
from tasks import app


def test_messages_are_json_and_nothing_else() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.task_ignore_result is True


def test_a_message_is_done_with_when_it_is_read() -> None:
    assert app.conf.task_acks_late is False
    assert app.conf.worker_disable_prefetch is True


def test_the_queues_are_those_of_the_processes() -> None:
    assert {queue.name for queue in app.conf.task_queues} == {
        "inference",
        "training",
        "bridge",
        "tools",
        "maintenance",
    }
    assert app.conf.task_create_missing_queues is False


def test_every_tick_names_a_task_and_expires_before_it_piles_up() -> None:
    app.loader.import_default_modules()
    assert {"reconcile", "republish", "retention"} <= set(celeryconfig.beat_schedule)
    for tick in celeryconfig.beat_schedule.values():
        assert tick["task"] in app.tasks
        assert tick["options"]["queue"] in {queue.name for queue in celeryconfig.task_queues}
        assert 0 < tick["options"]["expires"] <= 2 * tick["schedule"]


def test_naming_the_application_loads_no_task_and_no_model_library() -> None:
    heavy = ("torch", "transformers", "peft", "bitsandbytes", "mlflow", "jinja2", "tokenizers")
    script = (
        "import sys, tasks, tasks.broker.dispatch\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
        "print(sorted(name for name in sys.modules if name.startswith('tasks.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    light = [
        "tasks.broker",
        "tasks.broker.chains",
        "tasks.broker.connection",
        "tasks.broker.dispatch",
        "tasks.broker.pulse",
        "tasks.broker.queues",
        "tasks.broker.routing",
    ]
    assert done.stdout.splitlines() == ["[]", str(light)]


def test_a_worker_loads_no_torch() -> None:
    script = (
        "import sys, tasks\n"
        "tasks.app.loader.import_default_modules()\n"
        "print([n for n in ('torch', 'transformers', 'peft', 'mlflow') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
