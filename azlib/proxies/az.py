"""The four proxies of AZ-NAS (Lee & Ham, CVPR 2024, arXiv 2403.19232).

Degenerate networks follow one of two rules, both kept by name:

"formula" (default): what the equations say. Negative eigenvalues, which are round-off of zeros,
    count as zeros; a block that is exactly the identity has singular value close to 1.
"published": what the authors' code does. A negative eigenvalue below the 1e-8 inside the
    logarithm makes expressivity and progressivity minus infinity, and so does one identity block
    with trainability.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from azlib.proxies import Probe, proxy

_EPSILON = 1e-8  # inside the logarithm of Eq. 3
_SOURCE = "Lee & Ham, CVPR 2024"


def entropy(shares: Tensor, rule: str = "formula") -> float:
    """Eqs. 3-4: -Σ p ln(p + 1e-8) of the normalised eigenvalues p, (C,), in nats; NaN stays NaN."""
    p = shares.double()
    if rule == "formula":
        p = p.clamp(min=0)
    return float(-(p * torch.log(p + _EPSILON)).sum())


def _entropies(probe: Probe) -> list[float]:
    return [entropy(shares) for shares in probe.trace.shares]


def deviation(gain: float) -> float:
    """Eq. 11: 2 - σ - 1/σ, at most 0 and 0 when the largest singular value σ is 1."""
    return -gain - 1 / (gain + 1e-6) + 2


@proxy("expressivity", f"{_SOURCE}, Eq. 4")
def expressivity(probe: Probe) -> float:
    """How evenly features spread over their principal components, summed over blocks."""
    return sum(_entropies(probe))


@proxy("progressivity", f"{_SOURCE}, Eq. 5")
def progressivity(probe: Probe) -> float:
    """The smallest growth of expressivity from one block to the next."""
    growth = [after - before for before, after in pairwise(_entropies(probe))]
    return math.nan if any(map(math.isnan, growth)) else min(growth)


@proxy("trainability", f"{_SOURCE}, Eqs. 6-11")
def trainability(probe: Probe) -> float:
    """How close to 1 the largest singular value of the Jacobian stays, mean over blocks."""
    gains = probe.trace.gains
    return sum(map(deviation, gains)) / len(gains)


@proxy("complexity", f"{_SOURCE}, Sec. 3.2")
def complexity(probe: Probe) -> float:
    """Multiply-accumulates per image."""
    return probe.cost


@proxy("smallest_share", "diagnostic")
def smallest_share(probe: Probe) -> float:
    """The most negative normalised eigenvalue of any block: round-off, read by `as_published`."""
    smallest = [float(shares.min()) for shares in probe.trace.shares]
    return min((share for share in smallest if not math.isnan(share)), default=math.nan)


@proxy("identity_blocks", "diagnostic")
def identity_blocks(probe: Probe) -> float:
    """The number of blocks whose vector-Jacobian product returns its argument exactly."""
    return float(sum(bool(same) for same in probe.trace.identities))


def as_published(scores):
    """Scores (a DataFrame with the two diagnostics) under the rule of the authors' code."""
    scores = scores.copy()
    broken = scores["expressivity"].isna() | (scores["smallest_share"] < -_EPSILON)
    scores.loc[broken, ["expressivity", "progressivity"]] = -math.inf
    scores.loc[scores["identity_blocks"] > 0, "trainability"] = -math.inf
    return scores
