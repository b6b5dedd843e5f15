from __future__ import annotations

import pickle

from cyrex.engine import Delta
from cyrex.serving.wire import delta_of, row_of


def test_a_delta_crosses_as_a_plain_tuple() -> None:
    delta = Delta("ab", [1, 2], [-0.5, -1.0], [[(1, -0.5), (3, -2.0)], []])
    row = row_of(7, delta)
    assert type(row) is tuple
    assert row[0] == 7
    assert delta_of(pickle.loads(pickle.dumps(row))) == delta
