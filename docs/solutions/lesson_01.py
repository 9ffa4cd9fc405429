"""Solutions of notebook 01."""

from itertools import pairwise

import numpy as np


def covariance(features):
    centred = features - features.mean(axis=0)
    return centred.T @ centred / len(features)


def entropy(eigenvalues):
    shares = eigenvalues / eigenvalues.sum()
    return -(shares * np.log(shares + 1e-8)).sum()


def progressivity(entropies):
    return min(after - before for before, after in pairwise(entropies))
