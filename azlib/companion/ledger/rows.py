"""A row of the ledger, and how its numbers are written."""

from __future__ import annotations

import math
from dataclasses import dataclass

REPRODUCED, DIFFERS = "reproduced", "differs"
NOT_RUNNABLE, NOT_MEASURED = "not runnable here", "not measured here"
NOT_KNOWN = "contents not known here"
VERDICTS = (REPRODUCED, DIFFERS, NOT_RUNNABLE, NOT_MEASURED, NOT_KNOWN)


@dataclass(frozen=True)
class Row:
    """One published number or claim beside ours.

    Args:
        section: heading that it stands under.
        what: the quantity or the claim, in words.
        published: the published number as text; "" for a claim.
        ours: what we found, with its interval where there is one.
        verdict: one of `VERDICTS`.
        remark: the measured reason of a difference, or what stands in the way.
        exhibit: stem of the CSV that `ours` is from; "" where there is none.
    """

    section: str
    what: str
    published: str
    ours: str
    verdict: str
    remark: str = ""
    exhibit: str = ""


def claim(section: str, what: str, holds: bool, ours: str, exhibit: str, reason: str = "") -> Row:
    """A row for a claim: reproduced if it holds, and if it does not, `reason` says why not."""
    verdict = REPRODUCED if holds else DIFFERS
    return Row(section, what, "", ours, verdict, "" if holds else reason, exhibit)


def ranged(value: float, low: float, high: float, form: str = "{:.3f}") -> str:
    """`0.741 [0.735, 0.747]`, or the value alone where it has no interval."""
    if math.isnan(low) or low == high:
        return form.format(value)
    return f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"
