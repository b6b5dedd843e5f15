"""The fixtures of the tiny base model."""

from tests.support.tiny import adapters, base, make_adapter

__all__ = ["adapters", "base", "make_adapter"]
