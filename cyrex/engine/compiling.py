"""How the engine's inner loops are compiled."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numba

# Sums may be taken in any order, which is what lets them run in vectors. Not among the flags:
# those that let the compiler believe that no number is ever NaN, by which broken rows are told.
_FLAGS = {"reassoc", "contract", "arcp", "nsz"}
_OPTIONS: dict[str, Any] = {"fastmath": _FLAGS, "error_model": "numpy", "nogil": True}

# Rows are shared out among threads, and nothing else is made parallel.
ROWS_ALONE = {
    "prange": True, "comprehension": False, "reduction": False, "inplace_binop": False,
    "setitem": False, "numpy": False, "stencil": False, "fusion": False,
}  # fmt: skip


def compiled(
    signature: str, function: Callable[..., Any], parallel: dict[str, bool] | bool = False
) -> Callable[..., Any]:
    """Compile now, or take the last run's machine code where there is a folder to keep it in."""
    options = {**_OPTIONS, "parallel": parallel}
    try:
        code: Callable[..., Any] = numba.njit(signature, cache=True, **options)(function)
    except (RuntimeError, OSError):
        code = numba.njit(signature, **options)(function)
    return code


def inlined(function: Callable[..., Any]) -> Any:
    """Part of a compiled function."""
    return numba.njit(**_OPTIONS)(function)


def twin(function: Callable[..., None]) -> Callable[..., None]:
    """The same under another name: by it alone the folder of machine code tells functions apart."""
    copy = types.FunctionType(function.__code__, function.__globals__)
    copy.__qualname__ = f"{function.__qualname__}_in_threads"
    return copy
