"""Training the networks that a search found, and writing them for other programs."""
