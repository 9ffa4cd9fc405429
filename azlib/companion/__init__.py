"""The paper beside azlib: published values, ground truth, agreement, exhibits, notebooks."""

NOBODY_WATCHES = "AZLIB_NOBODY_WATCHES"
"""The environment variable that tells a notebook that nobody can move its sliders."""
