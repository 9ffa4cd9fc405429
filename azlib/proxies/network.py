"""Scores of single networks, and a ranking of a few: what `azlib.score` and `azlib.rank` are."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from azlib.aggregation import AZ_NAS, aggregate
from azlib.aggregation import rank as rank_values
from azlib.errors import AzlibError, unknown
from azlib.inputs import check_shape, gaussian, generator
from azlib.inputs.images import batch as source_batch
from azlib.inputs.initialisation import INITIALISATIONS
from azlib.proxies.probe import Probe, channels_last
from azlib.proxies.registry import REGISTRY, members, names


def score(
    model: nn.Module,
    input_shape: tuple[int, ...] = (64, 3, 32, 32),
    *,
    seed: int = 1,
    proxies: str | Iterable[str] = "az",
    blocks: list[str] | None = None,
    init: str | None = "kaiming_norm_fanin",
    train: bool = True,
    macs: float | None = None,
    input: str = "gaussian",
    images: str | Sequence[tuple[Tensor, Tensor]] = "patches",
    architecture: str | None = None,
    device: str = "cpu",
) -> dict[str, float]:
    """Scores one network; the model passed in is not changed.

    input_shape: (B, C, H, W) of the input. seed: with `architecture` (default: the
    printed form of the model) fixes weights, input and ±1 vectors. proxies: "az" or names.
    blocks: names of the primary blocks (default: `model.primary_blocks`). init: one of
    `weights.INITIALISATIONS`, or None to keep the model's weights; it draws convolutions and linear
    layers anew, parameters of other kinds keep the model's values. train: batch statistics in
    normalisation layers for AZ-NAS' proxies (the paper's setting for CNNs; ViTs use False). macs:
    complexity if it is already known. input: "gaussian" (the paper's), or a source of real images
    to feed to the proxies that read noise. images: for proxies that read real images by
    definition, a source named in `azlib.inputs.images` or your own batches [(images, labels), ...].

    Returns {name: float}. Raises `AzlibError` for an unknown proxy, initialisation or block, an
    input that does not fit, and a device that is not there.
    """
    key = architecture if architecture is not None else repr(model)
    return score_in_place(
        copy.deepcopy(model),
        input_shape,
        key,
        seed=seed,
        proxies=proxies,
        blocks=blocks,
        init=init,
        train=train,
        macs=macs,
        input=input,
        images=images,
        device=device,
    )


def score_in_place(
    model: nn.Module,
    input_shape: tuple[int, ...],
    architecture: str,
    *,
    seed: int,
    proxies: str | Iterable[str] = "az",
    blocks: list[str] | None = None,
    init: str | None = "kaiming_norm_fanin",
    train: bool = True,
    macs: float | None = None,
    input: str = "gaussian",
    images: str | Sequence[tuple[Tensor, Tensor]] = "patches",
    device: str = "cpu",
    seconds: dict[str, float] | None = None,
) -> dict[str, float]:
    """`score` without the copy, for a network built for this purpose: its weights are replaced.

    seconds: is given the processor time of each proxy.
    """
    chosen = names(proxies)
    check_settings(init, device, input_shape)
    model.to(device)
    rng = generator(seed, architecture, "input")
    if input == "gaussian":
        inputs = gaussian(tuple(input_shape), rng)
    else:
        inputs, _ = source_batch(input, tuple(input_shape), 1000, rng)  # of any class
    probe = Probe(
        model,
        channels_last(inputs).to(device),
        generator(seed, architecture, "signs"),
        blocks,
        macs,
        init,
        train,
        images,
        architecture,
        seed,
    )
    scores = {}
    with torch.random.fork_rng():
        for name in chosen:
            start = time.process_time()
            # What the model itself draws, dropout for one, is seeded too.
            torch.manual_seed(probe.stream("forward").initial_seed())
            scores[name] = probe.run(REGISTRY[name])
            if seconds is not None:
                seconds[name] = time.process_time() - start
    return scores


def check_settings(init: str | None, device: str, input_shape: tuple[int, ...]) -> None:
    """Raises `AzlibError` for an initialisation, device or input shape that cannot be."""
    if init not in (None, "own", *INITIALISATIONS):
        raise unknown("initialisation", init, INITIALISATIONS)
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise unknown("device", device, ["cpu", "cuda", "cuda:0"]) from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise AzlibError(f'device="{device}" but PyTorch sees no GPU here: use device="cpu"')
    check_shape(input_shape)


def rank(
    models: Sequence[nn.Module],
    input_shape: tuple[int, ...] = (64, 3, 32, 32),
    *,
    method: str = "log",
    **settings,
) -> pd.DataFrame:
    """Ranks networks against each other: their scores, the ranks, and their sum by Eq. 12.

    models: at least two networks (an AZ-NAS score means something only among others); settings
    are those of `score`; `proxies="az-graph"` ranks by that assembly, any name of
    `aggregate.ASSEMBLIES` by its own. Returns a DataFrame in the order of `models`, with one column
    per proxy, `rank_<proxy>` (1 = lowest), `az_nas` (`score` for other proxies than those of
    AZ-NAS; higher is better) and `place` (1 = best).
    """
    models = list(models)
    if len(models) < 2:
        raise AzlibError(f"rank() compares networks: got {len(models)}, expected at least 2")
    scores = pd.DataFrame([score(model, input_shape, **settings) for model in models])
    ranks = scores.apply(rank_values).add_prefix("rank_")
    total = aggregate(scores, method=method, proxies=members(settings.get("proxies", "az")))
    place = total.rank(ascending=False, method="min").astype(int)
    label = "az_nas" if set(scores) == set(AZ_NAS) else "score"
    return scores.join(ranks).assign(**{label: total, "place": place})
