"""Scores of a few architectures, one after another: the work of one task."""

from __future__ import annotations

import contextlib
import ctypes
import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from azlib.errors import AzlibError, out_of_memory, reason
from azlib.settings import INITIALISATIONS, ScoreSettings
from azlib.spaces.base import SearchSpace

if TYPE_CHECKING:
    from azlib.proxies import Proxy, Scored


def score_chunk(
    space: SearchSpace,
    items: list[tuple[str, int]],
    settings: ScoreSettings,
    own: tuple[Proxy, ...] = (),
) -> tuple[list[dict], list[str]]:
    """Rows of scores for (architecture, seed) pairs, and a line for each that failed.

    A failed architecture has NaN for every proxy, so that one bad network does not end a night's
    work. Raises `AzlibError` when memory runs out, as then all others would fail as well.
    own: the user's own proxies among those of the settings, which a new process does not know.
    """
    from azlib.proxies import REGISTRY, adopt

    adopt(own)
    keep_freed_memory()
    rows, failures = [], []
    timed = [name for name in settings.proxies if not REGISTRY[name].shared]
    for arch, seed in items:
        start = time.process_time()
        values = dict.fromkeys(settings.proxies, math.nan)
        spent = dict.fromkeys(timed, math.nan)
        try:
            scored = score_architecture(space, arch, seed, settings)
            values, spent = scored.values, scored.seconds
        except Exception as error:  # one bad architecture must not end a night's sweep
            if out_of_memory(error):
                raise AzlibError(f"out of memory on {arch}: lower batch or workers") from error
            failures.append(f"{arch} seed {seed}: {reason(error)}")
        seconds = time.process_time() - start
        times = {f"seconds_{name}": spent[name] for name in timed}
        rows.append({"arch": arch, "seed": seed, **values, **times, "seconds": seconds})
    return rows, failures


def score_architecture(space: SearchSpace, arch: str, seed: int, settings: ScoreSettings) -> Scored:
    """Builds one network at the resolution of the settings and scores it; costs are the space's.

    Raises `AzlibError` where the space builds anything but a network, and as `score` does.
    """
    from torch import nn

    from azlib.inputs import generator, seeded
    from azlib.proxies import check_device, score_in_place
    from azlib.spaces.moulds import blank_weights
    from azlib.spaces.own import Asked

    ask = Asked(space)
    check_device(settings.device)
    drawn = settings.init in INITIALISATIONS
    blank = blank_weights(settings.device) if drawn else nullcontext()
    # What no initialisation covers, such as embeddings, keeps what the constructors draw.
    with blank, seeded(generator(seed, arch, "build").initial_seed()):
        model = ask.build(arch, settings.resolution)
    if not isinstance(model, nn.Module):
        raise AzlibError(
            f"{type(space).__name__}.build returns {type(model).__name__} for {arch!r}: expected a "
            "torch.nn.Module"
        )
    return score_in_place(model, arch, seed, settings, macs=ask.count(arch)["macs"])


def keep_freed_memory() -> None:
    """Asks glibc to keep freed blocks: features of 4 MB otherwise cost a page fault per 4 kB."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold = -1, -3
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(mmap_threshold, 1 << 30)
