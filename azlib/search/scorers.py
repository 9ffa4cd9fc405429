"""Scorers: functions from an architecture to its scores, higher being better.

Any such function can guide a search. If it has an attribute `proxies`, these are the scores that
the search ranks by; otherwise they are the four of AZ-NAS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from azlib.assemblies import AZ_NAS
from azlib.errors import unknown
from azlib.settings import ScoreSettings, check_seed
from azlib.spaces.base import SearchSpace


class Scorer(Protocol):
    """What the loop asks of a scorer."""

    def __call__(self, arch: str, /) -> Mapping[str, float]: ...


def members(score: object) -> tuple[str, ...]:
    """The scores that a search with this scorer ranks by."""
    return tuple(getattr(score, "proxies", AZ_NAS))


@dataclass(frozen=True)
class Live:
    """Builds the network of an architecture and probes it, on one thread.

    space: the costs are the space's own, at whatever resolution the network is scored. seed: of the
    scores. settings: how to score; by default what the space says. proxies: what the search ranks
    by, where one that is listed twice has twice the weight; by default those of the settings.

    Raises `AzlibError` for a proxy that is ranked by but not scored, for a seed out of range, and
    for settings that the space does not suit.
    """

    space: SearchSpace
    seed: int = 123
    settings: ScoreSettings | None = None
    proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_seed(self.seed)
        settings = (self.settings or ScoreSettings.for_space(self.space)).suited_to(self.space)
        ranked = tuple(self.proxies) or settings.proxies
        for name in ranked:
            if name not in settings.proxies:
                raise unknown("scored proxy", name, settings.proxies)
        object.__setattr__(self, "settings", settings)  # filled in, so that a log says what it was
        object.__setattr__(self, "proxies", ranked)

    def __reduce__(self) -> tuple:
        """Another process receives the user's own proxies, too, of which it knows no names."""
        from azlib.proxies import own

        assert self.settings is not None  # __post_init__ filled it in
        held = own(self.settings.proxies)
        return _received, (held, self.space, self.seed, self.settings, self.proxies)

    @classmethod
    def at(
        cls,
        space: SearchSpace,
        preset: str | None = None,
        seed: int = 123,
        *,
        proxies: str | Sequence[str] | None = None,
        **changes: Any,
    ) -> Live:
        """A scorer at one of the presets of a space, changed where you say so.

        Args:
            space: the search space.
            preset: a name in `space.presets`. By default a CPU takes "cpu", a cheap setting that
                some spaces have (notebook 14), and everything else takes "paper".
            seed: of the scores.
            proxies: an assembly by its name, or proxies; by default those of the space.
            changes: other settings, see `ScoreSettings.changed`.

        Raises:
            AzlibError: for an unknown preset or proxy, and a setting out of range.
        """
        from azlib.proxies import members as resolve

        if preset is None:
            cheap = "cpu" in space.presets and changes.get("device") in (None, "cpu")
            preset = "cpu" if cheap else "paper"
        ranked = space.proxies if proxies is None else resolve(proxies)
        scored = tuple(dict.fromkeys(ranked))
        settings = ScoreSettings.for_space(space, preset, proxies=scored, **changes)
        return cls(space, seed, settings, tuple(ranked))

    def __call__(self, arch: str) -> dict[str, float]:
        # Imported here, so that a search among known scores loads no torch.
        from azlib.scoring.chunk import keep_freed_memory, score_architecture

        assert self.settings is not None  # __post_init__ filled it in
        keep_freed_memory()
        return score_architecture(self.space, arch, self.seed, self.settings).values


def _received(own: tuple, *fields: Any) -> Live:
    """A scorer as it arrives in another process."""
    from azlib.proxies import adopt

    adopt(own)
    return Live(*fields)


class Known:
    """Looks scores up, for a search among architectures that have all been scored.

    scores: architecture -> proxy -> score. proxies: what the search ranks by.
    """

    def __init__(
        self, scores: Mapping[str, Mapping[str, float]], proxies: Sequence[str] = AZ_NAS
    ) -> None:
        self._scores, self.proxies = scores, tuple(proxies)

    def __call__(self, arch: str) -> Mapping[str, float]:
        return self._scores[arch]


@dataclass(frozen=True)
class Count:
    """One of the costs of an architecture, for a search that builds no network.

    name: a key of `space.count`, such as "macs" or "params".
    """

    space: SearchSpace
    name: str = "macs"
    proxies: ClassVar[tuple[str, ...]] = ("count",)

    def __call__(self, arch: str) -> dict[str, float]:
        return {"count": self.space.count(arch)[self.name]}
