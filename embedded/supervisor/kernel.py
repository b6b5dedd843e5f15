"""Kernel services for a supervisor: death signals, adoption of orphans, a harmless root.

Everything here is Linux. On another system the calls do nothing: the stack works, but a
supervisor that is killed with SIGKILL leaves its processes behind until the next start.
"""

from __future__ import annotations

import ctypes
import enum
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWUSER = 0x10000000
NOBODY = 65534

PROC = Path("/proc")
_libc = ctypes.CDLL(None, use_errno=True)


class Identity(enum.Enum):
    """The user that a process runs as."""

    SELF = "self"
    # Root, mapped to `nobody` in a user namespace: files stay root's, no folder must be opened up.
    MAPPED = "mapped"
    # Really `nobody`, where user namespaces are refused: its files must be given to it first.
    NOBODY = "nobody"


def die_with_parent(death_signal: signal.Signals, parent: int) -> None:
    """Ask to be sent `death_signal` when the *thread* that forked us ends; `parent` is its pid.

    So only a main thread may start processes. A change of credentials drops the wish: set it last.
    """
    if sys.platform != "linux":
        return
    _libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:  # it died before we could ask
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """From now on a descendant whose parent dies becomes our child, not init's."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def assume(identity: Identity) -> None:
    """Become `identity`, in a process that was forked just now. Raises `OSError`."""
    if identity is Identity.MAPPED:
        user, group = os.getuid(), os.getgid()
        if _libc.unshare(CLONE_NEWUSER):
            raise OSError(ctypes.get_errno(), "user namespaces are refused here")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")
    elif identity is Identity.NOBODY:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def can_map_users() -> bool:
    """Try a user namespace in a short-lived child."""
    child = os.fork()
    if child == 0:
        try:
            assume(Identity.MAPPED)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def child_setup(
    death_signal: signal.Signals, identity: Identity = Identity.SELF
) -> Callable[[], None]:
    """A `preexec_fn`: default signals, `identity`, and death with the process that calls this."""
    parent = os.getpid()

    def setup() -> None:
        # A stack started in the background inherits ignored signals; its processes must not.
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        assume(identity)
        die_with_parent(death_signal, parent)

    return setup


def kill_strangers(
    is_known: Callable[[int], bool], signal_of: Callable[[int], signal.Signals]
) -> int:
    """Signal every living child of ours that is not known: an adopted orphan. Returns how many."""
    mine = [pid for pid in all_pids() if _state_and_parent(pid)[1] == os.getpid()]
    strangers = [pid for pid in mine if is_alive(pid) and not is_known(pid)]
    for pid in strangers:
        send(pid, signal_of(pid))
    return len(strangers)


def ended_child() -> int | None:
    """The pid of a child of ours that has ended; the caller is to collect its status."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def is_alive(pid: int) -> bool:
    """True while it runs; a zombie does not."""
    return _state_and_parent(pid)[0] not in ("", "Z", "X")


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        # "pid (name, which may hold spaces and brackets) state ppid …"
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[1])


def send(pid: int, number: signal.Signals) -> bool:
    """Signal a process. False: it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def executable(pid: int) -> str:
    """The file name of the program that `pid` runs; empty when that cannot be seen."""
    try:
        return (PROC / str(pid) / "exe").readlink().name
    except OSError:
        return ""


def command_line(pid: int) -> list[str]:
    """The words that started `pid`; none when it is gone or may not be seen."""
    try:
        return (PROC / str(pid) / "cmdline").read_text().split("\0")
    except (OSError, UnicodeDecodeError):
        return []


def working_folder(pid: int) -> Path | None:
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def marked(marker: str) -> list[int]:
    """The pids whose environment at start held the line `marker` (`NAME=value`), except ours."""
    wanted, found = marker.encode(), []
    for pid in all_pids():
        try:
            lines = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in lines and pid != os.getpid():
            found.append(pid)
    return found


def all_pids() -> list[int]:
    if sys.platform != "linux":
        return []
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]
