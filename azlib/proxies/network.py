"""Scores of single networks, and a ranking of a few: what `azlib.score` and `azlib.rank` are."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from azlib.aggregation import AZ_NAS, aggregate
from azlib.aggregation import rank as rank_values
from azlib.errors import AzlibError
from azlib.inputs import gaussian, generator
from azlib.inputs.images import batch as source_batch
from azlib.proxies.probe import Probe, channels_last
from azlib.proxies.registry import REGISTRY, members, names
from azlib.settings import IMAGE_SHAPE, ScoreSettings, check_seed


class Scored(NamedTuple):
    """The value of each proxy, and the processor time in seconds that it took."""

    values: dict[str, float]
    seconds: dict[str, float]


def score(
    model: nn.Module,
    input_shape: tuple[int, ...] = IMAGE_SHAPE,
    *,
    seed: int = 1,
    proxies: str | Iterable[str] = "az",
    blocks: list[str] | None = None,
    init: str | None = "kaiming_norm_fanin",
    batch_statistics: bool = True,
    macs: float | None = None,
    noise_source: str = "gaussian",
    labelled_images: str | Sequence[tuple[Tensor, Tensor]] = "patches",
    architecture: str | None = None,
    device: str = "cpu",
) -> dict[str, float]:
    """Scores one network. The model that is passed in is not changed.

    A score depends on (architecture, settings, seed) alone. It is computed on one thread, as in a
    sweep, so that both give the same number on one machine; another processor, or another build of
    PyTorch, changes it by round-off.

    Args:
        model: any network; it is copied.
        input_shape: shape of the input, batch first: (B, C, H, W) for images.
        seed: together with `architecture` it fixes weights, input and random signs.
        proxies: "az" for the four of AZ-NAS, or names of proxies or assemblies.
        blocks: names of the modules whose outputs AZ-NAS reads; by default
            `model.primary_blocks`.
        init: how the weights of convolutions and linear layers are drawn (see
            `settings.INITIALISATIONS`); other parameters keep the model's values. None keeps all
            of the model's weights.
        batch_statistics: whether normalisation layers use batch statistics while the AZ-NAS
            proxies are read. That is the paper's setting for CNNs; for vision transformers it is
            False.
        macs: the complexity in multiply-accumulates per image, if it is already known.
        noise_source: "gaussian" as in the paper, or a source of real images that is fed to the
            proxies that read noise.
        labelled_images: for proxies that are defined on labelled images: a source named in
            `azlib.inputs.images`, or your own batches [(images, labels), ...].
        architecture: text that identifies the network; by default its printed form.
        device: "cpu" or "cuda".

    Returns:
        The value of each proxy by its name; higher is better, NaN where it is not defined.

    Raises:
        AzlibError: for an unknown proxy, initialisation or block, for an input that does not fit,
            and for a device that is not there.
    """
    own = labelled_images if not isinstance(labelled_images, str) else None
    settings = ScoreSettings(
        tuple(names(proxies)),
        input_shape,
        init,
        batch_statistics,
        noise_source,
        labelled_images if isinstance(labelled_images, str) else None,
        device,
    )
    key = repr(model) if architecture is None else architecture
    copied = copy.deepcopy(model)
    return score_in_place(copied, key, seed, settings, blocks=blocks, macs=macs, batches=own).values


def score_in_place(
    model: nn.Module,
    architecture: str,
    seed: int,
    settings: ScoreSettings,
    *,
    blocks: list[str] | None = None,
    macs: float | None = None,
    batches: Sequence[tuple[Tensor, Tensor]] | None = None,
) -> Scored:
    """`score` without the copy, for a network built for this purpose: its weights are replaced."""
    check_seed(seed)
    check_device(settings.device)
    with one_thread(), torch.random.fork_rng():
        model.to(settings.device)
        inputs = channels_last(_noise(settings, generator(seed, architecture, "input")))
        inputs = inputs.to(settings.device)
        probe = Probe(model, inputs, settings, architecture, seed, blocks, macs, batches)
        values, seconds = {}, {}
        for name in names(settings.proxies):
            start = time.process_time()
            # What the model itself draws, for example in dropout, is seeded too.
            torch.manual_seed(probe.stream("forward").initial_seed())
            values[name] = probe.run(REGISTRY[name])
            seconds[name] = time.process_time() - start
    return Scored(values, seconds)


def _noise(settings: ScoreSettings, rng: torch.Generator) -> Tensor:
    """The batch that is fed to proxies that read noise."""
    shape = settings.input_shape
    if settings.noise_source == "gaussian":
        return gaussian(shape, rng)
    return source_batch(settings.noise_source, shape, 1000, rng)[0]  # images of any class


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, PyTorch computes on one thread, so that sums are always taken in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_device(device: str) -> None:
    """Raises `AzlibError` for a GPU that PyTorch does not see here."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise AzlibError(f'device="{device}" but PyTorch sees no GPU here: use device="cpu"')


def rank(
    models: Sequence[nn.Module],
    input_shape: tuple[int, ...] = IMAGE_SHAPE,
    *,
    method: str = "log",
    **settings: Any,
) -> pd.DataFrame:
    """Ranks networks against each other: their scores, the ranks, and the sum of Eq. 12.

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
