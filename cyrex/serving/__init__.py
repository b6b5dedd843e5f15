"""The engine in a child process, behind the same `submit`.

The parent loads no model library; it can run hundreds of threads and restart the engine.
"""

from cyrex.serving.errors import EngineDied, EngineStartError
from cyrex.serving.process import EngineProcess

__all__ = ["EngineDied", "EngineProcess", "EngineStartError"]
