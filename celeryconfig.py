"""Every Celery setting, with its reason. Rows in Postgres are the truth; messages are hints."""

from __future__ import annotations

from typing import Any

from kombu import Queue

from settings import settings_or_exit

_settings = settings_or_exit()

broker_url = _settings.redis_url
# Nobody waits on a Celery result: results are rows.
task_ignore_result = True
result_backend = None

# A message is code's input: JSON only, never pickle.
task_serializer = "json"
accept_content = ["json"]
enable_utc = True
timezone = "UTC"

QUEUES = ("inference", "training", "bridge", "tools", "maintenance")
task_queues = [Queue(name) for name in QUEUES]
task_default_queue = "maintenance"
task_create_missing_queues = False

# A step's lease in Postgres tells who runs it, so the message is done with when it is read: the
# broker's visibility timeout has no say over an hour-long training.
task_acks_late = False
# Take a message only when a thread or process is free: a second training must not wait behind an
# hour-long one while another worker idles, and a killed worker takes no reserved messages along.
worker_disable_prefetch = True
worker_prefetch_multiplier = 1

# A broker that is down must fail a web request in a second or two, not hang it.
broker_transport_options = {
    "socket_connect_timeout": 2,
    "socket_timeout": 15,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "max_retries": 1,
    "interval_start": 0,
    # Three lists a queue, the first read first. 0: canaries, which tell whether anybody reads, and
    # what was begun and lost its worker. 3: work. 5: trainings, for a run that is trained is
    # evaluated before the next one trains, or the first adapter of a long queue would be ready
    # with the last.
    "priority_steps": [0, 3, 5],
}
# Outlives the loss of the broker with a message in hand, and is back in a second.
worker_consumer = "tasks.broker.consumer:ReconnectingConsumer"
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A broker that is full, or whose disk is, answers with errors: they pass, and end no worker.
broker_channel_error_retry = True
task_publish_retry = False

# SIGTERM: let short tasks end, then leave.
worker_soft_shutdown_timeout = 5.0
worker_enable_soft_shutdown_on_idle = False
# A pool process that has grown is replaced between tasks.
worker_max_memory_per_child = 4_000_000
worker_hijack_root_logger = False
worker_redirect_stdouts = False
# Flower shows tasks from these events.
worker_send_task_events = True
task_send_sent_event = True

imports = (
    "tasks.workers.signals",
    "tasks.steps.training",
    "tasks.steps.adapters",
    "tasks.steps.jobs",
    "tasks.inference.conversations",
    "tasks.steps.tools",
    "tasks.upkeep.maintenance",
    "tasks.bridge.bootstep",
)

RECONCILE_SECONDS = 2.0
REPUBLISH_SECONDS = 15.0
RETENTION_SECONDS = 3600.0
CANARY_SECONDS = 10.0
SCHEDULES_SECONDS = 10.0
SWEEP_SECONDS = 3600.0

beat_schedule_filename = str(_settings.data_dir / "celerybeat-schedule")
# Static ticks only: what users schedule is rows. An old tick is worth nothing, hence `expires`.
beat_schedule: dict[str, dict[str, Any]] = {
    "reconcile": {
        "task": "maintenance.reconcile",
        "schedule": RECONCILE_SECONDS,
        "options": {"queue": "maintenance", "expires": 2 * RECONCILE_SECONDS},
    },
    "republish": {
        "task": "maintenance.republish",
        "schedule": REPUBLISH_SECONDS,
        "options": {"queue": "maintenance", "expires": REPUBLISH_SECONDS},
    },
    "retention": {
        "task": "maintenance.apply_retention",
        "schedule": RETENTION_SECONDS,
        "options": {"queue": "maintenance", "expires": RETENTION_SECONDS},
    },
    "fire-schedules": {
        "task": "maintenance.fire_schedules",
        "schedule": SCHEDULES_SECONDS,
        "options": {"queue": "maintenance", "expires": 2 * SCHEDULES_SECONDS},
    },
    "sweep": {
        "task": "maintenance.sweep",
        "schedule": SWEEP_SECONDS,
        "options": {"queue": "maintenance", "expires": SWEEP_SECONDS},
    },
}
# One canary a queue, ahead of whatever waits there: /readyz tells by them which queues are served.
beat_schedule |= {
    f"canary-{name}": {
        "task": "maintenance.canary",
        "schedule": CANARY_SECONDS,
        "options": {"queue": name, "expires": 2 * CANARY_SECONDS, "priority": 0},
    }
    for name in QUEUES
}
# Tasks whose every run need not be logged.
TICK_SECONDS = 60.0
TICKS = {entry["task"] for entry in beat_schedule.values() if entry["schedule"] < TICK_SECONDS}
