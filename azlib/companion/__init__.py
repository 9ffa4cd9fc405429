"""The paper beside azlib: published values, ground truth, agreement, exhibits, notebooks."""
