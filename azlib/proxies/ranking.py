"""A ranking of a few networks against each other: what `azlib.rank` is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from typing import Any, cast

import pandas as pd
from torch import nn
from tqdm.auto import tqdm

from azlib.aggregation import AGGREGATIONS, AZ_NAS, aggregate
from azlib.aggregation import rank as rank_values
from azlib.errors import AzlibError, reason, unknown
from azlib.inputs import seeded
from azlib.proxies.models import unwrapped
from azlib.proxies.network import check_device, score
from azlib.proxies.registry import members
from azlib.proxies.registry import names as proxy_names
from azlib.settings import ScoreSettings, check_at_least, check_seed

Network = nn.Module | Callable[[], nn.Module]
"""A network, or a function that builds it when its turn comes, so that few are in memory."""
_PATIENCE = 5  # seconds before a progress bar is shown


def rank(
    models: Mapping[str, Network] | Iterable[Network],
    input_shape: tuple[int, ...] | None = None,
    *,
    names: Sequence[str] | None = None,
    method: str = "log",
    blocks: Mapping[str, Iterable[str]] | Iterable[str] | None = None,
    proxies: str | Iterable[str] = "az",
    progress: bool = True,
    **settings: Any,
) -> pd.DataFrame:
    """Ranks networks against each other: their scores, the ranks, and the sum of Eq. 12.

    An AZ-NAS score means something only among others, and among networks of one search space:
    across families of architectures it was not shown to beat counting parameters.

    A network that cannot be scored does not end the ranking. Its scores are NaN, which rank last,
    and the column `reason` says why.

    Args:
        models: at least two networks: a dictionary from names to networks, or a list. Where they
            have names, a function that returns a network may stand for it; it is called when its
            turn comes, so that networks need not all be in memory together, and PyTorch's own
            generator is seeded for it.
        input_shape: as in `score`; by default each model's own.
        names: what to call the networks of a list; by default the name of their class, with a
            number where several have it.
        method: how ranks are added up, "log" or "linear" (see `azlib.aggregate`).
        blocks: names of the blocks, the same for all networks; or a dictionary from the name of a
            network to its blocks, which leaves the others to what is found.
        proxies: as in `score`; "az-graph" ranks by that assembly.
        progress: whether a bar is shown when it takes more than a few seconds.
        settings: other settings of `score`, such as `seed`, `batch` and `init`. With `init=None`
            every network keeps the weights it has, and how their authors start them counts too.

    Returns:
        A DataFrame in the order of `models`, with their names as its index: one column per proxy,
        `rank_<proxy>` (1 = lowest), `az_nas` (`score` for other proxies than those of AZ-NAS;
        higher is better), `place` (1 = best), and `reason` where a network could not be scored.

    Raises:
        AzlibError: for fewer than two networks, for names that do not fit, for an unknown setting,
            and where no network can be scored.
    """
    named = _named(models, names)
    if len(named) < 2:
        raise AzlibError(f"rank() compares networks: got {len(named)}, expected at least 2")
    weights = members(proxies)  # refuses unknown proxies before anything is computed
    _check_known(method, settings)
    frame = score_each(
        named, input_shape, blocks=blocks, proxies=proxies, progress=progress, **settings
    )
    scores = frame[proxy_names(proxies)]
    ranks = scores.apply(rank_values).add_prefix("rank_")
    total = aggregate(scores, method=method, proxies=weights)
    place = total.rank(ascending=False, method="min").astype(int)
    label = "az_nas" if set(scores) == set(AZ_NAS) else "score"
    ranked = scores.join(ranks).assign(**{label: total, "place": place})
    return ranked.join(frame["reason"]) if "reason" in frame else ranked


def _check_known(method: str, settings: Iterable[str]) -> None:
    if method not in AGGREGATIONS:
        raise unknown("aggregation method", method, AGGREGATIONS)
    for name in settings:
        if name not in (known := signature(score).parameters):
            raise unknown("setting", name, known)


def score_each(
    named: Mapping[str, Network],
    input_shape: tuple[int, ...] | None = None,
    *,
    blocks: Mapping[str, Iterable[str]] | Iterable[str] | None = None,
    proxies: str | Iterable[str] = "az",
    progress: bool = True,
    **settings: Any,
) -> pd.DataFrame:
    """The scores of networks by their names, without ranks: the arguments are those of `rank`.

    Returns one row per network and one column per proxy, and a column `reason` if some network
    could not be scored. Raises `AzlibError` if none can be.
    """
    if not named:
        raise AzlibError("no network to score: got none")
    wanted, seed = proxy_names(proxies), check_seed(settings.get("seed", 1))
    _check_values(tuple(wanted), settings)
    own = settings.get("labelled_images", "")
    if not isinstance(own, str):
        settings["labelled_images"] = list(own)  # a stream could be read once only
    per_model = _blocks_of(blocks, list(named))
    rows, reasons = {}, {}
    alone = len(named) == 1
    bar = tqdm(
        named.items(), "scoring", delay=_PATIENCE, leave=False, disable=alone or not progress
    )
    for name, model in bar:
        bar.set_postfix_str(name, refresh=False)
        try:
            rows[name] = score(
                _built(name, model, seed),
                input_shape,
                blocks=per_model.get(name),
                proxies=wanted,
                **settings,
            )
        except AzlibError as error:
            rows[name] = dict.fromkeys(wanted, math.nan)
            reasons[name] = str(error)
    if len(reasons) == len(named):
        name, why = next(iter(reasons.items()))
        raise AzlibError(f"none of the {len(named)} networks can be scored; {name}: {why}")
    scores = pd.DataFrame.from_dict(rows, orient="index", columns=wanted)
    return scores.assign(reason=pd.Series(reasons, dtype=object)) if reasons else scores


def _check_values(proxies: tuple[str, ...], settings: Mapping[str, Any]) -> None:
    """Refuses what fits no network, before one of them is blamed for it."""
    kept = ("init", "batch_statistics", "noise_source", "device", "precision")
    given = {name: settings[name] for name in kept if name in settings}
    check_device(ScoreSettings(proxies, **given).device)
    if settings.get("batch") is not None:
        check_at_least(2, batch=settings["batch"])


def _built(name: str, model: Network, seed: int) -> nn.Module:
    """The network, built if a function stands for it.

    Parameters that no rule of initialisation covers, such as embeddings of positions, keep what the
    function draws, so its draws are seeded.
    """
    if isinstance(model, nn.Module | type) or not callable(model):
        return cast(nn.Module, model)  # `score` refuses what is none
    try:
        with seeded(seed):
            return model()
    except Exception as error:  # a stranger's function can fail in any way
        raise AzlibError(f"{name} cannot be built: {reason(error)}") from error


def _named(
    models: Mapping[str, Network] | Iterable[Network], names: Sequence[str] | None
) -> dict[str, Network]:
    """The networks by their names. Raises `AzlibError` for names that do not fit."""
    if isinstance(models, nn.Module):
        raise AzlibError("rank() compares networks: got one, expected a list or a dictionary")
    if isinstance(models, Mapping):
        if names is not None:
            raise AzlibError("names= is for a list of networks; a dictionary has names already")
        found = {str(name): model for name, model in models.items()}
        if len(found) < len(models):
            raise AzlibError(f"two networks have the same name: {list(models)}")
    else:
        if not hasattr(models, "__iter__"):
            what = type(models).__name__
            raise AzlibError(f"expected networks in a list or a dictionary, got {what}")
        listed = list(models)
        given = [str(n) for n in names] if names is not None else _class_names(listed)
        if len(given) != len(listed) or len(set(given)) != len(given):
            raise AzlibError(
                f"names={given}: expected {len(listed)} names, all different, one per network"
            )
        found = dict(zip(given, listed, strict=True))
    return found


def _class_names(models: list[Network]) -> list[str]:
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
        listed = [blocks] if isinstance(blocks, str) else list(blocks)
        return dict.fromkeys(names, listed)
    for name in blocks:
        if name not in names:
            raise unknown("network", name, names)
    return dict(blocks)
