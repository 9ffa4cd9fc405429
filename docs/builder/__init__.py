"""Builds the site: `python -m docs.builder`, which is `make site`.

The site has the layout of the repository, so that a link between two files works in both:
`README.md` is its first page, `docs/` holds the guides, `notebooks/` the lessons and `figures/` the
pictures.
`sources` collects these files in `.build/site-source`, and Sphinx turns them into `.build/site`.
"""
