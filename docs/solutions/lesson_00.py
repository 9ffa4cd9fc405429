"""Solutions of notebook 00."""

import numpy as np


def macs(inputs, outputs, kernel, side):
    return inputs * outputs * kernel * kernel * side * side


def has_path(edges):
    reached = {0}
    for (i, j), operation in sorted(edges.items()):
        if operation != "none" and i in reached:
            reached.add(j)
    return 3 in reached


def reached(scores, score):
    return 100 * np.mean(np.asarray(scores) <= score)
