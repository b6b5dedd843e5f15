"""The adapter that a run goes on from: checked before any compute, and named in the receipt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helox.base import Base, sha256_of_file
from helox.checkpoint_files import ADAPTER_CONFIG_FILE, ADAPTER_FILE, RECEIPT_FILE
from helox.errors import UserError
from helox.spec import TrainingConfig

if TYPE_CHECKING:
    from helox.model import Learner

MAX_ANCESTORS = 100  # kept in a receipt, the nearest first
# Setting → its name in adapter_config.json: they decide what the weights mean.
SHAPE_SETTINGS = {"lora_rank": "r", "lora_alpha": "lora_alpha", "use_rslora": "use_rslora"}


@dataclass(frozen=True)
class Parent:
    """An adapter directory that passed `Parent.open`."""

    path: Path
    sha256: str  # of the adapter's weights
    receipt: dict[str, Any]

    @classmethod
    def open(cls, path: Path, base: Base, config: TrainingConfig) -> Parent:
        """Checks that a whole adapter of the same base and shape lies at `path`.

        Raises:
            UserError: with the field `continue_from`, and what differs by name.
        """
        receipt, adapter = _read(path / RECEIPT_FILE), _read(path / ADAPTER_CONFIG_FILE)
        try:
            sha256 = sha256_of_file(path / ADAPTER_FILE)
        except OSError as error:
            raise _refused(f"{path.name!r} has no {ADAPTER_FILE}") from error
        if _get(receipt, "adapter", "sha256") != sha256:
            raise _refused(f"{ADAPTER_FILE} of {path.name!r} is not what its receipt says")
        if _get(receipt, "base_model", "sha256") != base.sha256:
            name = _get(receipt, "base_model", "name")
            raise _refused(
                f"{path.name!r} was trained on the base model {name!r} of another SHA-256, "
                f"this run is on {base.name!r}"
            )
        for setting, name in SHAPE_SETTINGS.items():
            ours, theirs = getattr(config, setting), adapter.get(name)
            if ours != theirs:
                raise _refused(f"config.{setting} is {ours!r}, and {theirs!r} in {path.name!r}")
        return cls(path, sha256, receipt)

    def lineage(self) -> dict[str, Any]:
        """What a receipt says of it: what it is, what it learned from, and what came before it."""
        before = _get(self.receipt, "continued_from") or {}
        ancestors = [before["adapter_sha256"], *before["ancestors"]] if before else []
        return {
            "adapter_sha256": self.sha256,
            "fingerprint": self.receipt.get("fingerprint"),
            "data_sha256": _get(self.receipt, "data", "sha256"),
            "ancestors": ancestors[:MAX_ANCESTORS],
        }

    def load_into(self, learner: Learner) -> None:
        """Puts the adapter's weights in the learner's place.

        Raises:
            UserError: they are of other layers, or of other shapes.
        """
        from safetensors.torch import load_file

        try:
            learner.load_adapter_state(load_file(self.path / ADAPTER_FILE))
        except ValueError as error:
            message = f"{self.path.name!r} does not fit this configuration: {error}"
            raise _refused(message) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{path.parent.name!r} has no readable {path.name}: Helox did not make it"
        raise _refused(message) from error
    if not isinstance(values, dict):
        raise _refused(f"{path.name} of {path.parent.name!r} is not a JSON object")
    return values


def _get(values: dict[str, Any], *names: str) -> Any:
    found: Any = values
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _refused(message: str) -> UserError:
    return UserError("bad_adapter", f"continue_from: {message}", field="continue_from")
