"""azlib: rank neural networks without training them (AZ-NAS, CVPR 2024).

    azlib.score(model)                  # any nn.Module -> {proxy: float}
    azlib.rank([model_a, model_b])      # DataFrame: proxies, ranks, AZ-NAS score
    azlib.blocks(model)                 # where in the network it is read, and what is left out
    azlib.aggregate(scores)             # Eq. 12: Σ log(rank / m)
    azlib.Reference.of_space(space)     # ranks that do not change when other networks arrive
    azlib.plot_ranking(frame)           # a picture of a ranking; plot_search(log), of a search
    @azlib.proxy("name")                # a proxy of your own

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azlib.errors import AzlibError, AzlibWarning

if TYPE_CHECKING:
    from azlib.aggregation import aggregate
    from azlib.plotting import plot_ranking, plot_search
    from azlib.proxies import blocks, proxy, rank, score
    from azlib.scoring import Reference

__version__ = "0.2.0.dev0"
"""The one place where the version stands; the package's metadata are built from it."""

__all__ = [
    "AzlibError",
    "AzlibWarning",
    "Reference",
    "aggregate",
    "blocks",
    "plot_ranking",
    "plot_search",
    "proxy",
    "rank",
    "score",
]


def __getattr__(name: str) -> Any:
    if name == "aggregate":
        from azlib.aggregation import aggregate

        return aggregate
    if name in ("blocks", "proxy", "rank", "score"):
        from azlib import proxies

        return getattr(proxies, name)
    if name in ("plot_ranking", "plot_search"):
        from azlib import plotting

        return getattr(plotting, name)
    if name == "Reference":
        from azlib.scoring import Reference

        return Reference
    raise AttributeError(f"module 'azlib' has no attribute {name!r}")
