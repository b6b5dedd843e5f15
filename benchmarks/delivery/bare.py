"""The rivals: Flask with one INSERT, and a Celery task that does nothing."""

from __future__ import annotations

import uuid
from functools import lru_cache

from flask import Flask, Response, jsonify, request
from sqlalchemy import Engine, create_engine, text

from settings import get_settings

TABLE = "CREATE TABLE IF NOT EXISTS bare_jobs (job_id text PRIMARY KEY, data jsonb NOT NULL)"
INSERT = text("INSERT INTO bare_jobs (job_id, data) VALUES (:job_id, CAST(:data AS jsonb))")
POOL_SIZE = 32


@lru_cache(maxsize=1)
def engine() -> Engine:
    return create_engine(get_settings().database_url, pool_size=POOL_SIZE)


def create_app() -> Flask:
    """POST /jobs: insert the body as one row, answer 202 with its id. No key, check or message."""
    app = Flask(__name__)

    @app.post("/jobs")
    def submit() -> tuple[Response, int]:
        job_id = str(uuid.uuid4())
        with engine().begin() as connection:
            connection.execute(INSERT, {"job_id": job_id, "data": request.get_data(as_text=True)})
        return jsonify({"job_id": job_id, "status": "queued"}), 202

    return app
