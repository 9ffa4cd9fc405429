"""Solutions of notebook 23."""

import math


def cosine_rate(step, steps, lr):
    return lr * (1 + math.cos(math.pi * step / steps)) / 2


def resample(n, rng):
    return rng.integers(n, size=n)


def told_apart(low, high):
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not told apart"
