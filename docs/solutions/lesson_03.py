"""Solutions of notebook 03."""

from itertools import combinations

import numpy as np


def kendall(a, b):
    pairs = list(combinations(range(len(a)), 2))
    signs = [np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in pairs]
    return sum(signs) / len(pairs)


def jackknife(values):
    n = len(values)
    means = np.array([np.delete(values, i).mean() for i in range(n)])
    return np.sqrt((n - 1) / n * ((means - means.mean()) ** 2).sum())
