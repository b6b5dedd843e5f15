"""The Celery application. Importing this package loads no task and no model library.

Workers load the task modules (`celeryconfig.imports`); the API only names them (`tasks.dispatch`).
"""

from celery import Celery

app = Celery("cyrex")
app.config_from_object("celeryconfig")

__all__ = ["app"]
