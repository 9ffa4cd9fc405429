"""The four proxies of AZ-NAS (Lee & Ham, CVPR 2024, arXiv 2403.19232).

The equations do not say what to do with degenerate networks, and it matters (notebook A1). Three
rules, by name:

"azlib", the default: a network neither loses by round-off nor wins by doing nothing. Negative
    eigenvalues, which are round-off of zeros, count as zeros; a block that is exactly the identity
    makes trainability minus infinity, unless training would change that (see `trainability`).
"formula": negative eigenvalues count as zeros; an identity is scored like any other block (its
    singular value is close to 1, so its trainability is among the best).
"published": what the authors' code does. A negative eigenvalue below the 1e-8 inside the
    logarithm makes expressivity and progressivity minus infinity, and an identity block
    trainability.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pandas as pd
import torch
from torch import Tensor

from azlib.errors import unknown
from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy

_EPSILON = 1e-8  # inside the logarithm of Eq. 3
_SOURCE = "Lee & Ham, CVPR 2024"


def entropy(shares: Tensor) -> float:
    """Eqs. 3-4: -Σ p ln(p + 1e-8) of the normalised eigenvalues p, in nats.

    Negative eigenvalues count as zeros; NaN stays NaN.
    """
    p = shares.double().clamp(min=0)
    return float(-(p * torch.log(p + _EPSILON)).sum())


def _entropies(probe: Probe) -> list[float]:
    return [entropy(shares) for shares in probe.trace.shares]


def deviation(gain: float) -> float:
    """Eq. 11: 2 - σ - 1/σ, at most 0 and 0 when the largest singular value σ is 1."""
    return -gain - 1 / (gain + 1e-6) + 2


@proxy("expressivity", f"{_SOURCE}, Eq. 4", shared=True)
def expressivity(probe: Probe) -> float:
    """How evenly features spread over their principal components, summed over blocks."""
    return sum(probe.once(_entropies))


@proxy("progressivity", f"{_SOURCE}, Eq. 5", shared=True)
def progressivity(probe: Probe) -> float:
    """The smallest growth of expressivity from one block to the next."""
    growth = [after - before for before, after in pairwise(probe.once(_entropies))]
    return math.nan if any(map(math.isnan, growth)) else min(growth)


@proxy("trainability", f"{_SOURCE}, Eqs. 6-11", shared=True)
def trainability(probe: Probe) -> float:
    """How close to 1 the largest singular value of the Jacobian stays, mean over blocks.

    Minus infinity if a block is the identity whatever its weights, as one with a skip connection
    alone. A block that is the identity only because a scale starts at zero is left out of the mean:
    its singular value of 1 would count as perfect, or as nothing at all, and means neither. NaN
    where no block is left.
    """
    if identity_blocks(probe):
        return -math.inf
    found = zip(probe.trace.gains, probe.trace.dormant, strict=True)
    return _mean_deviation([gain for gain, dormant in found if not dormant])


def _mean_deviation(gains: list[float]) -> float:
    return sum(map(deviation, gains)) / len(gains) if gains else math.nan


@proxy("complexity", f"{_SOURCE}, Sec. 3.2", shared=True)
def complexity(probe: Probe) -> float:
    """Multiply-accumulates per image."""
    return probe.cost


@proxy("trainability_formula", "diagnostic", shared=True)
def trainability_formula(probe: Probe) -> float:
    """Eq. 11 without an exception for identity blocks."""
    return _mean_deviation(probe.trace.gains)


@proxy("smallest_share", "diagnostic", shared=True)
def smallest_share(probe: Probe) -> float:
    """The most negative normalised eigenvalue of any block: how far round-off went below zero.

    Blocks with fewer positions than channels show hardly any: their zeros are not computed.
    """
    smallest = [float(shares.min()) for shares in probe.trace.shares]
    return min((share for share in smallest if not math.isnan(share)), default=math.nan)


@proxy("identity_blocks", "diagnostic", shared=True)
def identity_blocks(probe: Probe) -> float:
    """The number of blocks whose vector-Jacobian product returns its argument exactly.

    Those that do so only at their present weights are not counted.
    """
    return float(sum(probe.trace.identities))


RULES = ("azlib", "formula", "published")


def under_rule(scores: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Scores (with the diagnostics among their columns) under another rule for degenerate networks.

    rule: one of `RULES`. Returns a copy. Raises `AzlibError` for an unknown rule.
    """
    if rule not in RULES:
        raise unknown("rule for degenerate networks", rule, RULES)
    scores = scores.copy()
    if rule == "formula":
        scores["trainability"] = scores["trainability_formula"]
    if rule == "published":
        broken = scores["expressivity"].isna() | (scores["smallest_share"] < -_EPSILON)
        scores.loc[broken, ["expressivity", "progressivity"]] = -math.inf
    return scores
