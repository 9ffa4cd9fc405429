"""Solutions of notebook 05."""

from itertools import combinations


def subsets(names):
    return [s for size in range(1, len(names) + 1) for s in combinations(names, size)]


def verdict(low, high, published):
    return "reproduced" if low - 0.02 <= published <= high + 0.02 else "differs"
