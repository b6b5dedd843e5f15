"""The engine behind one `submit`, in a child process of its own.

The parent loads no model library: it may run hundreds of threads and restart the engine at will.
"""

from cyrex.serving.errors import EngineDied, EngineStartError
from cyrex.serving.process import EngineProcess

__all__ = ["EngineDied", "EngineProcess", "EngineStartError"]
