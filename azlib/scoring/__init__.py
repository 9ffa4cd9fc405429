"""Scores of many architectures: on processes or a cluster, resumable, in files with datasheets."""
