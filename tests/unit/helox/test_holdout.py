from __future__ import annotations

from helox.holdout import choose, is_held_out, key_of
from helox.render import to_messages


def key(line: dict[str, object]) -> int:
    return key_of(to_messages(line))


def test_the_input_alone_decides() -> None:
    assert key({"input": "a", "output": "x"}) == key({"input": "a", "output": "y"})
    assert key({"input": "a", "output": "x"}) == key({"prompt": "a", "completion": "z"})
    assert key({"input": "a", "output": "x"}) != key({"input": "b", "output": "x"})
    assert key({"input": {"p": 1, "q": 2}, "output": 1}) == key(
        {"input": {"q": 2, "p": 1}, "output": 2}
    )


def test_a_longer_conversation_stays_with_its_opening() -> None:
    short = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    long = [*short, {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]
    assert key({"messages": short}) == key({"messages": long})


def test_about_the_fraction_is_held_out_and_a_larger_one_holds_the_same_and_more() -> None:
    keys = [key({"input": f"question {i}", "output": "x"}) for i in range(2000)]
    tenth, fifth = choose(keys, 0.1), choose(keys, 0.2)
    assert 150 < sum(tenth) < 250
    assert all(more for less, more in zip(tenth, fifth, strict=True) if less)
    assert choose(keys, 0.0) == [False] * 2000


def test_the_side_does_not_depend_on_the_dataset() -> None:
    keys = [key({"input": f"question {i}", "output": "x"}) for i in range(100)]
    whole = dict(zip(keys, choose(keys, 0.3), strict=True))
    part = dict(zip(keys[40:], choose(keys[40:], 0.3), strict=True))
    assert all(whole[k] == side for k, side in part.items())


def test_one_input_is_always_left_to_train_on() -> None:
    held = [k for k in range(0, 2**64, 2**59) if is_held_out(k, 0.5)]
    assert choose(held, 0.5).count(False) == 1
    assert choose(held[:1], 0.5) == [False]
    assert choose([held[0], held[0]], 0.5) == [False, False]  # duplicates stay together
    assert choose([], 0.5) == []
