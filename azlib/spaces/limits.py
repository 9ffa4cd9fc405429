"""How much an architecture may ask for, so that it is refused before memory runs out.

A text of a few characters can ask for a network of terabytes. The limits lie far above every
published network.
"""

from __future__ import annotations

import reprlib
from numbers import Integral

from azlib.errors import AzlibError
from azlib.settings import LARGEST_RESOLUTION
from azlib.spaces.base import Training

LARGEST_NETWORK = 1_000_000_000  # parameters: 4 GB in float32
MOST_CLASSES = 1_000_000
LONGEST_TEXT = 100_000  # characters

_abridged = reprlib.Repr()
_abridged.maxstring = _abridged.maxother = 120


def abridged(value: object) -> str:
    """What Python writes for a value, cut in the middle where it is long."""
    return _abridged.repr(value)


def check_range(least: int, most: int, **numbers: object) -> None:
    """Raises `AzlibError` unless each of the named numbers is an integer from `least` to `most`."""
    for name, value in numbers.items():
        number = int(value) if isinstance(value, Integral) and value is not True else least - 1
        if not least <= number <= most:
            raise AzlibError(
                f"{name}={abridged(value)}: expected an integer from {least:,} to {most:,}"
            )


def check_sizes(num_classes: int, resolution: int) -> None:
    """Raises `AzlibError` for a number of classes or of pixels that no network is built for."""
    check_range(1, MOST_CLASSES, num_classes=num_classes)
    check_range(1, LARGEST_RESOLUTION, resolution=resolution)


def check_network(name: str, params: float) -> None:
    """Raises `AzlibError` if a network of that many parameters is too large to be built."""
    if params > LARGEST_NETWORK:
        raise AzlibError(
            f"this {name} network has {params:,.0f} parameters: expected at most "
            f"{LARGEST_NETWORK:,}; lower its widths, its layers or its number of classes"
        )


def check_training(training: Training) -> None:
    """Raises `AzlibError` for sizes out of range, and for a drop path, which CNNs do not have."""
    check_sizes(training.num_classes, training.resolution)
    if training.drop_path:
        raise AzlibError(
            f"drop_path={training.drop_path!r}: the networks of this space have no drop path, set "
            "it to 0"
        )
