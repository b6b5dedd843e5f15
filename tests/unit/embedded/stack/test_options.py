"""The options of a stack, and the PYTHONPATH of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from embedded.layout import Layout
from embedded.stack import plan
from embedded.stack.options import REPOSITORY, Options
from embedded.stack.plan import StackPlan


def make(folder: Path, environ: Mapping[str, str] | None = None, names: str = "all") -> StackPlan:
    layout = Layout.at(folder)
    layout.make_folders()
    return plan.make(Options(folder, names), layout, environ or {})


def test_packages_are_found_first_and_once(tmp_path: Path) -> None:
    first = make(tmp_path, {"PYTHONPATH": "/mine"}).environment["PYTHONPATH"]
    assert first == f"{REPOSITORY}:/mine"
    assert make(tmp_path, {"PYTHONPATH": first}).environment["PYTHONPATH"] == first
