"""The gate: do a candidate's answers on held-out examples justify replacing the champion?

Both arms answer the same examples, so the test is paired: if the candidate is no better, each
example's difference might as well have the other sign. The share of sign patterns whose sum is as
large as the one seen is the chance that luck alone did it (a sign-flip permutation test; with
right-or-wrong scores it is McNemar's). Patterns with just the same sum count half (mid-p): without
that, the test would be timid on few examples. `benchmarks/gate.py` says how often it is wrong.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Promote = Literal["evidence", "always"]

# A candidate replaces a champion when luck alone would do as well at most this often.
MAX_CHANCE = 0.09
# Whatever it gains on new examples, it is refused when luck alone would lose as much on the old
# ones at most this often.
MAX_REGRESSION_CHANCE = 0.1
# Fewer examples say nothing.
MIN_EXAMPLES = 10
# Up to this many differing examples all sign patterns are counted; beyond, this many are drawn.
EXACT_UP_TO = 12
DRAWS = 4000
# Differences of sums of floats below this are rounding.
EPSILON = 1e-9


def chance(differences: Sequence[float]) -> float:
    """The probability that luck alone makes a sum this large or larger; 1.0 when nothing differs.

    differences: candidate's score minus rival's, one an example.
    """
    changed = [d for d in differences if abs(d) > EPSILON]
    if not changed:
        return 1.0
    if max(map(abs, changed)) - min(map(abs, changed)) < EPSILON:
        return _binomial(sum(d > 0 for d in changed), len(changed))
    sizes, seen = [abs(d) for d in changed], sum(changed)
    if len(sizes) <= EXACT_UP_TO:
        signs = itertools.product((1, -1), repeat=len(sizes))
        sums = [sum(map(float.__mul__, map(float, s), sizes)) for s in signs]
    else:
        draws = random.Random(len(sizes))
        sums = []
        for _ in range(DRAWS):
            bits = draws.getrandbits(len(sizes))
            sums.append(sum(s if bits >> i & 1 else -s for i, s in enumerate(sizes)))
    above = sum(s > seen + EPSILON for s in sums)
    level = sum(abs(s - seen) <= EPSILON for s in sums)
    return (above + level / 2) / len(sums)


def _binomial(better: int, changed: int) -> float:
    """Mid-p of `better` or more heads in `changed` throws of a fair coin."""
    above = sum(math.comb(changed, k) for k in range(better + 1, changed + 1))
    return (above + math.comb(changed, better) / 2) / 2.0**changed


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate serves, and why, in words and in numbers."""

    promote: bool
    reason: str
    evidence: dict[str, Any]


def judge(evaluation: dict[str, Any], has_champion: bool, promote: Promote = "evidence") -> Verdict:
    """Compare the candidate with the champion, or with the base model where no champion can answer.

    evaluation: what `cyrex.adapters.evaluation.evaluate` returns; an arm's `scores` are numbers,
    one an example, the higher the better.
    """
    scores = evaluation.get("scores") or {}
    candidate = scores.get("candidate")
    # A champion of other base weights cannot answer any more, so it has no score.
    label = "champion" if has_champion and "champion" in scores else "base"
    rival = scores.get(label)
    evidence: dict[str, Any] = {"rival": label, "metric": evaluation.get("metric")}
    if candidate is not None and rival is not None:
        evidence |= _numbers(candidate, rival, evaluation.get("old") or [])
    if promote == "always":
        return Verdict(True, "promoted as the request asked: promote is 'always'", evidence)
    if candidate is None or rival is None:
        return _without_scores(has_champion, bool(evaluation.get("champion_was_scored")), evidence)
    if label == "base":
        return _against_base(candidate, rival, evidence)
    return _against_champion(candidate, rival, evidence)


def _numbers(
    candidate: dict[str, Any], rival: dict[str, Any], old: Sequence[bool]
) -> dict[str, Any]:
    """The paired figures of two arms, over all examples and over the old ones."""
    differences = [c - r for c, r in zip(candidate["scores"], rival["scores"], strict=True)]
    before = [d for d, is_old in zip(differences, old, strict=False) if is_old]
    return {
        "examples": len(differences),
        "candidate": _mean(candidate["scores"]),
        "rival_score": _mean(rival["scores"]),
        "better_on": sum(d > EPSILON for d in differences),
        "worse_on": sum(d < -EPSILON for d in differences),
        "chance": chance(differences),
        # Nats a token of plain sentences: what is above the rival's was forgotten.
        "general_loss": {
            "candidate": candidate.get("general_loss"),
            "rival": rival.get("general_loss"),
        },
        "old_examples": len(before),
        "old_difference": _mean(before),
        "old_chance_of_loss": chance([-d for d in before]),
    }


def _mean(scores: Sequence[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None


def _without_scores(has_champion: bool, was_scored: bool, evidence: dict[str, Any]) -> Verdict:
    label = "champion" if has_champion else "base"
    if has_champion and was_scored:
        return Verdict(
            False,
            "nothing was held out to compare with the champion on, which has been scored before: "
            "it stays (promote: 'always' overrules)",
            evidence,
        )
    reason = f"there was no hold-out to compare with the {label} on: the newest serves"
    return Verdict(True, reason, evidence)


def _against_base(
    candidate: dict[str, Any], base: dict[str, Any], evidence: dict[str, Any]
) -> Verdict:
    """A company's first adapter need not be worse than no adapter; the loss breaks a tie."""
    mine, theirs = evidence["candidate"], evidence["rival_score"]
    figures = f"{mine:.3f} against the base's {theirs:.3f} on {_counted(evidence)}"
    if abs(mine - theirs) > EPSILON:
        verb = "beats" if mine > theirs else "loses to"
        return Verdict(mine > theirs, f"{verb} the base: {figures}", evidence)
    loss, bound = candidate["mean_loss"], base["mean_loss"]
    if loss is None or bound is None:
        return Verdict(bound is None, f"{figures}, and a loss is not finite", evidence)
    relation = "not above" if loss <= bound else "above"
    words = f"{figures}; its loss {loss:.3f} is {relation} the base's {bound:.3f}"
    return Verdict(loss <= bound, words, evidence)


def _against_champion(
    candidate: dict[str, Any], champion: dict[str, Any], evidence: dict[str, Any]
) -> Verdict:
    figures = (
        f"{evidence['candidate']:.3f} against the champion's {evidence['rival_score']:.3f} on "
        f"{_counted(evidence)}, better on {evidence['better_on']}, worse on {evidence['worse_on']}"
    )
    luck = f"luck alone would do as well {evidence['chance']:.0%} of the time"
    if candidate["mean_loss"] is None and champion["mean_loss"] is not None:
        return Verdict(False, f"{figures}; its loss is not finite", evidence)
    if evidence["examples"] < MIN_EXAMPLES:
        reason = f"{figures}: fewer than {MIN_EXAMPLES} examples are no evidence"
        return Verdict(False, reason, evidence)
    if (evidence["old_difference"] or 0) < 0 and (
        evidence["old_chance_of_loss"] <= MAX_REGRESSION_CHANCE
    ):
        reason = (
            f"{figures}; on the {evidence['old_examples']} older ones it lost "
            f"{-evidence['old_difference']:.3f}"
        )
        return Verdict(False, reason, evidence)
    if evidence["chance"] <= MAX_CHANCE:
        return Verdict(True, f"{figures}; {luck}", evidence)
    return Verdict(False, f"{figures}: no evidence that it is better ({luck})", evidence)


def _counted(evidence: dict[str, Any]) -> str:
    return f"{evidence['examples']} held-out examples ({evidence['metric'] or 'exact'})"
