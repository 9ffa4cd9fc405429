"""What is fed to a network, and where its randomness comes from."""

from __future__ import annotations

from azlib.inputs.noise import check_shape, gaussian
from azlib.inputs.seeding import generator

__all__ = ["check_shape", "gaussian", "generator"]
