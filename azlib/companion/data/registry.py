"""The files that are fetched: where each is, what it must be, and whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class RawFile:
    """One file of a public repository, at one commit.

    Attributes:
        name: what the file is called in the cache.
        repository: owner and name on GitHub.
        commit: the 40 hexadecimal digits of the commit, so that the file never changes.
        path: where the file is in the repository.
        sha256: what its content must hash to.
        size: in bytes.
        licence: the terms under which it is published.
        authors: whom to cite, with the paper.
    """

    name: str
    repository: str
    commit: str
    path: str
    sha256: str
    size: int
    licence: str
    authors: str

    @property
    def place(self) -> str:
        """The path of its address on the server that hands out files of repositories."""
        return f"{self.repository}/{self.commit}/{self.path}"

    @property
    def home(self) -> str:
        """The address of its repository, for readers."""
        return f"https://github.com/{self.repository}"


_AUTOFORMER = {
    "repository": "lilujunai/Auto-Prox-AAAI24",
    "commit": "90ed458eff6948a6f0d23e440a8d21bbec50d091",
    "licence": "Apache 2.0",
    "authors": "Wei et al., Auto-Prox, AAAI 2024",
}

RAW: Mapping[str, RawFile] = MappingProxyType(
    {
        file.name: file
        for file in (
            RawFile(
                name="nats_bench.csv",
                repository="v-tao/nats-bench-landscape",
                commit="b307ae5fe6e8d7043cd4fe7d1c3532288271adb7",
                path="nats_bench.csv",
                sha256="cb5d777ec3368be83c8f9b3aa4d520696051cb0eb8d94b8f85b519f9ea4afa3e",
                size=3_024_008,
                licence="figures of NATS-Bench, MIT; the repository names no licence",
                authors="Dong et al., NATS-Bench, TPAMI 2021",
            ),
            RawFile(
                name="all_benchmarks_zen.zip",
                repository="automl/NASLib",
                commit="ba4ffd845db508e475085f48f3bd3f40af05b551",
                path="naslib/data/zc_benchmarks/all_benchmarks_zen.zip",
                sha256="d70d3ddcda2264806a467d3fb3840e8ce04c5b0129776110a62018ea68e6d7f2",
                size=1_016_797,
                licence="Apache 2.0 (NASLib); TransNAS-Bench-101 is MIT",
                authors="Krishnakumar et al., NAS-Bench-Suite-Zero, NeurIPS 2022; "
                "Duan et al., TransNAS-Bench-101, CVPR 2021",
            ),
            RawFile(
                name="nas-bench-macro_cifar10.json",
                repository="xiusu/NAS-Bench-Macro",
                commit="61a2bfc2ca0dce04d0997e6cf498047c27d6acf2",
                path="data/nas-bench-macro_cifar10.json",
                sha256="686dee8363cc21cca8c1f321ad5749454f2d9b9ca5972682e137e539bc522297",
                size=1_178_821,
                licence="Apache 2.0",
                authors="Su et al., Prioritized Architecture Sampling, CVPR 2021",
            ),
            RawFile(
                name="gt_autoformer.pth",
                path="gt_results/gt_autoformer.pth",
                sha256="712ad277546d9f7f565ce07885be7e0b98dcd8d0724fdd1120f595b517436eca",
                size=26_671,
                **_AUTOFORMER,
            ),
            RawFile(
                name="gt_autoformer_2.pth",
                path="gt_results/gt_autoformer_2.pth",
                sha256="05f5df6a41f338fb5f47eafebfc8758c75e451606856b278ccda1c60b26e7bca",
                size=23_983,
                **_AUTOFORMER,
            ),
            RawFile(
                name="timm_results-imagenet.csv",
                repository="huggingface/pytorch-image-models",
                commit="aa4b5850c1543fa488abf260f18390eda46cf85d",
                path="results/results-imagenet.csv",
                sha256="30972bf7c7ab451bbd4480ec6116b13d0a84441c57bbc946896fd312264acfcd",
                size=123_104,
                licence="Apache 2.0",
                authors="Wightman, PyTorch Image Models, 2019",
            ),
        )
    }
)
"""The files, by the name that they have in the cache."""
