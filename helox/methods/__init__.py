"""Training methods. A method is one module here and one line in METHODS: data → batches → loss.

The trainer steps, schedules, checkpoints and publishes; a method says what the examples are, how
they lie in batches and which loss is taken over them. `helox.methods.method` is the interface.
Importing this package imports no torch: a method's module is loaded when a run asks for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from helox.base import Base
    from helox.methods.method import Method
    from helox.spec import TrainingSpec

SUPERVISED = "supervised"
# Name in `config.method` → module and class.
METHODS = {SUPERVISED: "helox.methods.supervised:Supervised"}


def load_method(spec: TrainingSpec, base: Base) -> Method:
    """The method that the spec names, with its data read and checked.

    Raises:
        UserError: the data cannot be used.
    """
    module, _, name = METHODS[spec.config.method].partition(":")
    return cast("Method", getattr(import_module(module), name)(spec, base))
