"""The channels, the consumer group that reads them, and how a process connects to Redis."""

from __future__ import annotations

from typing import Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from settings import get_settings

LORA_TRAINING_REQUESTS: Final = "lora_training_requests"
LORA_ADAPTER_READY: Final = "lora_adapter_ready"
LORA_ADAPTER_REQUESTS: Final = "lora_adapter_requests"
COMPANY_AUTOMATION_JOBS: Final = "company_automation_jobs"
MODEL_EVENTS: Final = "model-events"

# The streams that the platform itself reads; no entry may be trimmed before it was read.
CONSUMED: Final = (
    LORA_TRAINING_REQUESTS,
    LORA_ADAPTER_READY,
    LORA_ADAPTER_REQUESTS,
    COMPANY_AUTOMATION_JOBS,
)
CHANNELS: Final = (*CONSUMED, MODEL_EVENTS)

GROUP: Final = "cyrex"
WAKE_KEY: Final = "cyrex:outbox:wake"

SOCKET_TIMEOUT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 3.0


def connect(url: str | None = None) -> Redis:
    """A client for `url` (default: REDIS_URL), as the relay and the consumer need it.

    Answers stay bytes: one entry that is not UTF-8 must not spoil the batch it came in. No call is
    repeated behind the caller's back: a repeated XADD doubles an event. No call waits for ever: a
    stopped server looks like a very slow one.
    """
    client: Redis = Redis.from_url(
        url or get_settings().redis_url,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return client


def require_bytes(redis: Redis) -> None:
    """Raise `ValueError` for a client that decodes answers (see `connect`)."""
    if redis.get_encoder().decode_responses:
        raise ValueError("redis: make the client with synapse.streams.connect; it decodes answers")
