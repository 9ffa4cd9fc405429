"""Solutions of notebook 12."""

import numpy as np

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def regret(found, accuracies):
    return max(accuracies) - found


def parents(scores, population):
    best_first = np.argsort(-np.asarray(scores), kind="stable")
    return set(best_first[: population - 1].tolist())


def mutate(operations, rng):
    place = rng.integers(len(operations))
    others = [name for name in OPERATIONS if name != operations[place]]
    return (*operations[:place], str(rng.choice(others)), *operations[place + 1 :])
