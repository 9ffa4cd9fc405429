"""Solutions of notebook 02."""

import math


def deviation(sigma):
    return 2 - sigma - 1 / sigma


def trainability(sigmas):
    return sum(deviation(sigma) for sigma in sigmas) / len(sigmas)


def images_needed(channels, side, noise):
    positions = 4 * channels / noise**2
    return math.ceil(positions / side**2)
