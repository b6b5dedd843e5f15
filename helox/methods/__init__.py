"""Training methods. A method is one module here and one line in METHODS: data → batches → loss.

The trainer steps, schedules, checkpoints and publishes; a method says what the examples are, how
they lie in batches and which loss is taken over them. `helox.methods.method` is the interface.
Here are names alone: a method's module is loaded when a run asks for it.
"""

from __future__ import annotations

SUPERVISED = "supervised"
# Name in `config.method` → module and class.
METHODS = {SUPERVISED: "helox.methods.supervised:Supervised"}
