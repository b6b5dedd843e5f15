"""One machine, no Docker: real Postgres and Valkey from wheels, and the supervisor of a stack.

    python -m embedded up                 # everything, in the foreground; Ctrl-C stops all of it
    python -m embedded run -- COMMAND …   # everything, around one command
    python -m embedded env | status       # about a stack that runs

`up` is a small guard (`supervisor/guard.py`). It starts the supervisor, which starts the servers
(`servers/`) and the processes that `stack/processes.py` lists. `Stack` and `Servers` are that same
`up`, driven from Python (`stack/driver.py`).
"""

from embedded.stack.driver import Servers, Stack, StackError

__all__ = ["Servers", "Stack", "StackError"]
