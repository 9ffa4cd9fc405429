"""A ranking of a few networks against each other: what `azlib.rank` is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from torch import nn
from tqdm.auto import tqdm

from azlib.aggregation import AZ_NAS, aggregate
from azlib.aggregation import rank as rank_values
from azlib.errors import AzlibError, unknown
from azlib.proxies.models import unwrapped
from azlib.proxies.network import score
from azlib.proxies.registry import members
from azlib.proxies.registry import names as proxy_names

_PATIENCE = 5  # seconds before a progress bar is shown


def rank(
    models: Mapping[str, nn.Module] | Iterable[nn.Module],
    input_shape: tuple[int, ...] | None = None,
    *,
    names: Sequence[str] | None = None,
    method: str = "log",
    blocks: Mapping[str, Iterable[str]] | Iterable[str] | None = None,
    proxies: str | Iterable[str] = "az",
    **settings: Any,
) -> pd.DataFrame:
    """Ranks networks against each other: their scores, the ranks, and the sum of Eq. 12.

    An AZ-NAS score means something only among others, and among networks of one search space:
    across families of architectures it was not shown to beat counting parameters.

    A network that cannot be scored does not end the ranking. Its scores are NaN, which rank last,
    and the column `reason` says why.

    Args:
        models: at least two networks: a dictionary from names to networks, or a list.
        input_shape: as in `score`; by default each model's own.
        names: what to call the networks of a list; by default the name of their class, with a
            number where several have it.
        method: how ranks are added up, "log" or "linear" (see `azlib.aggregate`).
        blocks: names of the blocks, the same for all networks; or a dictionary from the name of a
            network to its blocks, which leaves the others to what is found.
        proxies: as in `score`; "az-graph" ranks by that assembly.
        settings: other settings of `score`, such as `seed` and `init`. With `init=None` every
            network keeps the weights it has, and how their authors start them counts too.

    Returns:
        A DataFrame in the order of `models`, with their names as its index: one column per proxy,
        `rank_<proxy>` (1 = lowest), `az_nas` (`score` for other proxies than those of AZ-NAS;
        higher is better), `place` (1 = best), and `reason` where a network could not be scored.

    Raises:
        AzlibError: for fewer than two networks, for names that do not fit, for an unknown setting,
            and where no network can be scored.
    """
    named = _named(models, names)
    weights = members(proxies)  # refuses unknown proxies before anything is computed
    wanted = proxy_names(proxies)
    per_model = _blocks_of(blocks, list(named))
    rows, reasons = {}, {}
    for name, model in tqdm(named.items(), "scoring", delay=_PATIENCE, leave=False):
        try:
            rows[name] = score(
                model, input_shape, blocks=per_model.get(name), proxies=wanted, **settings
            )
        except AzlibError as error:
            rows[name] = dict.fromkeys(wanted, math.nan)
            reasons[name] = str(error)
    if len(reasons) == len(named):
        name, why = next(iter(reasons.items()))
        raise AzlibError(f"none of the {len(named)} networks can be scored; {name}: {why}")
    scores = pd.DataFrame.from_dict(rows, orient="index", columns=wanted)
    ranks = scores.apply(rank_values).add_prefix("rank_")
    total = aggregate(scores, method=method, proxies=weights)
    place = total.rank(ascending=False, method="min").astype(int)
    label = "az_nas" if set(scores) == set(AZ_NAS) else "score"
    frame = scores.join(ranks).assign(**{label: total, "place": place})
    return frame.assign(reason=pd.Series(reasons, dtype=object)) if reasons else frame


def _named(
    models: Mapping[str, nn.Module] | Iterable[nn.Module], names: Sequence[str] | None
) -> dict[str, nn.Module]:
    """The networks by their names. Raises `AzlibError` for names that do not fit."""
    if isinstance(models, nn.Module):
        raise AzlibError("rank() compares networks: got one, expected a list or a dictionary")
    if isinstance(models, Mapping):
        if names is not None:
            raise AzlibError("names= is for a list of networks; a dictionary has names already")
        found = {str(name): model for name, model in models.items()}
    else:
        listed = list(models)
        given = [str(n) for n in names] if names is not None else _class_names(listed)
        if len(given) != len(listed) or len(set(given)) != len(given):
            raise AzlibError(
                f"names={given}: expected {len(listed)} names, all different, one per network"
            )
        found = dict(zip(given, listed, strict=True))
    if len(found) < 2:
        raise AzlibError(f"rank() compares networks: got {len(found)}, expected at least 2")
    return found


def _class_names(models: list[nn.Module]) -> list[str]:
    """The class of each network, with its number among those that share it."""
    classes = [type(unwrapped(model)).__name__ for model in models]
    repeated = {name for name, count in Counter(classes).items() if count > 1}
    seen: Counter[str] = Counter()
    result = []
    for name in classes:
        seen[name] += 1
        result.append(f"{name}_{seen[name]}" if name in repeated else name)
    return result


def _blocks_of(
    blocks: Mapping[str, Iterable[str]] | Iterable[str] | None, names: list[str]
) -> dict[str, Iterable[str]]:
    """The blocks of each network that has some."""
    if blocks is None:
        return {}
    if not isinstance(blocks, Mapping):
        listed = list(blocks)
        return dict.fromkeys(names, listed)
    for name in blocks:
        if name not in names:
            raise unknown("network", name, names)
    return dict(blocks)
