"""The engine behind one `submit`, in a child process of its own.

The parent loads no model library: it may run hundreds of threads and restart the engine at will.
"""

from cyrex.serving.process import EngineDied, EngineProcess, EngineStartError

__all__ = ["EngineDied", "EngineProcess", "EngineStartError"]
