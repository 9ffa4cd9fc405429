"""What is fed to a network, and where its randomness comes from."""

from __future__ import annotations

from azlib.inputs.noise import gaussian
from azlib.inputs.seeding import generator, seed_all, seeded

__all__ = ["gaussian", "generator", "seed_all", "seeded"]
