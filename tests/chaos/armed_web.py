"""The API of the chaos stack: `gunicorn 'tests.chaos.armed_web:create_app()'`."""

from __future__ import annotations

from flask import Flask

import web.api.jobs
import web.api.training
from tests.chaos.kill_points import WEB, before
from web.app import create_app as create_product


def create_app() -> Flask:
    """The product's application, whose processes may die between commit and hand-over."""
    web.api.jobs.hand_over = before(WEB, web.api.jobs.hand_over)
    web.api.training.wake_relay = before(WEB, web.api.training.wake_relay)
    return create_product()
