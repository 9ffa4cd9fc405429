"""A fixed set of scored networks that gives any network a number which others do not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from azlib.aggregation import rank_among
from azlib.errors import AzlibError, unknown
from azlib.scoring.architectures import sample
from azlib.scoring.chunk import score_architecture
from azlib.scoring.datasheet import write_datasheet
from azlib.scoring.files import FileSettings, read, read_settings
from azlib.scoring.parts import write
from azlib.scoring.pool import Execution
from azlib.scoring.sweep import sweep
from azlib.settings import ScoreSettings
from azlib.spaces.base import SearchSpace, check_space

if TYPE_CHECKING:
    from torch import nn

MODELS = "models"
"""What stands for the space in the file of a reference that was made from given models."""


@dataclass(frozen=True)
class Reference:
    """A fixed set of m scored networks, against which any network gets a number of its own.

    An AZ-NAS score is a sum of ranks (Eq. 12), so that it changes whenever a network joins those
    that are ranked. Ranked against a reference, a network is compared with the same m networks
    always. With r_p its rank by proxy p among them and itself, from 1 to m + 1, its value is

        Σ_p ln( r_p / (m + 1) )

    which is its AZ-NAS score in the set of these m + 1. It lies between -P·ln(m + 1), for a network
    below all of the reference by each of P proxies, and 0, for one above all. Ties share their mean
    rank; NaN (a failed score) and minus infinity are tied as the lowest. Two networks that both lie
    above the whole reference by a proxy are not told apart by it, so that the reference should hold
    networks as good as those that will be compared, or many.

    scores: a row for each network, with the columns of a score file. settings: how it was scored.
    A reference is saved as a score file, and any score file of one seed is a reference.
    """

    scores: pd.DataFrame
    settings: FileSettings

    def __post_init__(self) -> None:
        proxies = list(self.settings.score.proxies)
        if self.scores["seed"].nunique() != 1:
            raise AzlibError(
                f"a reference has one seed, got {sorted(self.scores['seed'].unique().tolist())}"
            )
        if len(self.scores) < 2 or self.scores[proxies].isna().all(axis=None):
            raise AzlibError(
                f"a reference needs at least two networks with scores, got {len(self.scores)}"
            )

    @classmethod
    def of_space(
        cls,
        space: SearchSpace,
        count: int = 200,
        *,
        seed: int = 1,
        settings: ScoreSettings | None = None,
        execution: Execution | None = None,
    ) -> Reference:
        """A reference of random networks of a space, always the same ones.

        Args:
            space: the search space.
            count: how many networks.
            seed: of the scores.
            settings: how to score; by default what the space says.
            execution: how many processes; by default this one alone.

        Raises:
            AzlibError: where the space has not so many networks, and as `sweep` does.
        """
        check_space(space)
        execution = Execution(workers=1) if execution is None else execution
        with TemporaryDirectory() as folder:
            path = Path(folder) / "reference.parquet"
            archs = sample(space, count)
            sweep(space, path, settings, seeds=[seed], archs=archs, execution=execution)
            used = () if settings is None else (settings.noise_source, settings.labelled_images)
            return cls.load(path, images=[source for source in used if source])

    @classmethod
    def of_models(
        cls,
        models: Mapping[str, nn.Module],
        input_shape: tuple[int, ...] | None = None,
        *,
        seed: int = 1,
        proxies: str | Iterable[str] = "az",
        **settings: Any,
    ) -> Reference:
        """A reference of given networks.

        Args:
            models: names and networks, at least two.
            input_shape: as in `azlib.score`, but the same for all; by default that of the first.
            seed: of the scores.
            proxies: names of proxies, or an assembly.
            settings: other fields of `ScoreSettings`, such as `init`; `batch`, `resolution`.

        Raises:
            AzlibError: for a network that cannot be scored, with its name.
        """
        from azlib.proxies import names, score_copy
        from azlib.proxies.models import default_shape, unwrapped

        if not hasattr(models, "items"):
            what = type(models).__name__
            raise AzlibError(f"expected a dictionary from names to networks, got {what}")
        rows, shape = [], input_shape
        for name, model in models.items():
            try:
                shape = default_shape(unwrapped(model)) if shape is None else shape
                how = ScoreSettings(tuple(names(proxies)), shape).changed(**settings)
                scored = score_copy(model, None, seed, how)
            except AzlibError as error:
                raise AzlibError(f"{name} cannot be in a reference: {error}") from error
            spent = sum(scored.seconds.values())
            rows.append({"arch": name, "seed": seed, **scored.values, "seconds": spent})
        if not rows:
            raise AzlibError("a reference needs at least two networks, got none")
        return cls(pd.DataFrame(rows), FileSettings(MODELS, how))

    @classmethod
    def load(
        cls, path: str | Path, seed: int | None = None, images: Iterable[str] = ()
    ) -> Reference:
        """A reference from a file: one that `save` wrote, or any score file of a sweep.

        seed: which one, where the file has several. images: where images are, for scores that read
        some, as files do not say it: "cifar10=FOLDER".
        Raises `AzlibError` for a file that is no score file, and for a seed that it does not hold.
        """
        scores, settings = read(path), read_settings(path)
        if settings.unique:
            raise AzlibError(
                f"{path} holds each network once, whatever its weight in the space: make a "
                "reference from a sweep without --unique"
            )
        held = sorted(int(number) for number in scores["seed"].unique())
        if seed is None and len(held) > 1:
            raise AzlibError(f"{path} holds the seeds {held}: choose one, as in seed={held[0]}")
        if seed is not None and seed not in held:
            raise AzlibError(f"{path} holds the seeds {held}, not {seed!r}")
        wanted = held[0] if seed is None else seed
        settings = replace(settings, score=settings.score.with_folders(images))
        return cls(scores[scores["seed"] == wanted].reset_index(drop=True), settings)

    def save(self, path: str | Path) -> Path:
        """Writes a score file, and its datasheet beside it; returns the path.

        Raises `AzlibError` for a name that does not end in .parquet, and a disk that is full.
        """
        path = Path(path)
        if path.suffix != ".parquet":
            raise AzlibError(f"cannot write a reference to {path}: expected a name.parquet")
        settings = replace(self.settings, score=self.settings.score.without_folders())
        write(path, self.scores.to_dict("records"), settings)
        write_datasheet(path, settings)
        return path

    def __len__(self) -> int:
        """m, the number of networks."""
        return len(self.scores)

    @property
    def seed(self) -> int:
        """The seed of its scores, with which a network must be scored to be compared."""
        return int(self.scores["seed"].iloc[0])

    def value(
        self, scores: Mapping[str, float], proxies: str | Iterable[str] | None = None
    ) -> float:
        """Σ_p ln( r_p / (m + 1) ) of a network from its scores; at most 0, higher is better.

        Args:
            scores: the score of the network by each proxy, made with the settings of the reference.
            proxies: what to sum over, by default all of the reference; an assembly may name a proxy
                twice, which then weighs twice.

        Raises:
            AzlibError: for a proxy that the reference or the network was not scored with.
        """
        ranked: Iterable[str] = self.settings.score.proxies
        if proxies is not None:
            from azlib.proxies import members

            ranked = members(proxies)
        total = 0.0
        for name in ranked:
            if name not in self.settings.score.proxies:
                raise unknown("proxy of the reference", name, self.settings.score.proxies)
            if name not in scores:
                raise unknown("score", name, scores)
            (r,) = rank_among([scores[name]], self.scores[name])
            total += float(np.log(r / (len(self) + 1)))
        return total

    def score(
        self,
        model: nn.Module,
        *,
        architecture: str | None = None,
        blocks: Iterable[str] | None = None,
        macs: float | None = None,
    ) -> float:
        """The value of a network, scored with the settings and the seed of the reference.

        The arguments are those of `azlib.score`. Raises `AzlibError` as that does.
        """
        from azlib.proxies import score_copy

        settings = self.settings.score
        scored = score_copy(model, architecture, self.seed, settings, blocks=blocks, macs=macs)
        return self.value(scored.values)

    def score_architecture(self, space: SearchSpace, arch: str) -> float:
        """The value of an architecture of the space that the reference was drawn from.

        Raises `AzlibError` for another space, and as `azlib.score` does.
        """
        check_space(space)
        if space.name != self.settings.space:
            raise AzlibError(
                f"the reference is of the space {self.settings.space!r}, not {space.name!r}"
            )
        space = space.scored_at(self.settings.score.resolution)
        return self.value(score_architecture(space, arch, self.seed, self.settings.score).values)
