"""Ground truth by the name of a benchmark, from the cache or fetched on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from azlib.companion import benchmarks
from azlib.companion.benchmarks import DATASETS, EMBEDDED, OFFICIAL
from azlib.companion.data import cache, readers
from azlib.companion.data.registry import RAW, RawFile
from azlib.errors import AzlibError, unknown

TOLERANCE = 0.005  # percent; benchmarks publish two decimals


@dataclass(frozen=True)
class Benchmark:
    """What was trained, and in which files the results are.

    Attributes:
        name: what it is called here.
        space: the search space that its architectures belong to; None if to none of azlib's.
        about: what it holds, for readers.
        tasks: the columns of its table that are results of training; higher is better.
        raw: the names of its files.
        read: turns these into the table.
    """

    name: str
    space: str | None
    about: str
    tasks: tuple[str, ...]
    raw: tuple[str, ...]
    read: Callable[[Sequence[Path]], pd.DataFrame]

    @property
    def files(self) -> list[RawFile]:
        """Its files."""
        return [RAW[name] for name in self.raw]

    @property
    def command(self) -> str:
        """What fetches it."""
        return f"azlib data {self.name}"

    def state(self) -> str:
        """ "there", "missing" or "damaged": the worst that `cache.state` says of its files."""
        states = [cache.state(file) for file in self.files]
        return next((state for state in ("damaged", "missing") if state in states), "there")

    def sources(self) -> list[str]:
        """Where its files come from: repository, size, authors and licence, a line for each."""
        found: dict[tuple[str, str, str], int] = {}
        for file in self.files:
            key = (file.home, file.authors, file.licence)
            found[key] = found.get(key, 0) + file.size
        return [
            f"{home}, {size / 1e6:.2f} MB; {authors}; licence: {licence}"
            for (home, authors, licence), size in found.items()
        ]

    def fetch(self, patience: float | None = None) -> list[Path]:
        """The paths of its files, which are fetched unless the cache holds them whole."""
        return [cache.fetch(file, self.command, patience) for file in self.files]

    def paths(self, fetch: bool, say: Callable[[str], None]) -> list[Path]:
        """The paths of its files, which are fetched where they are missing, if that is allowed.

        Raises `NotFetched` where they are missing and stay so, `AzlibError` for damage.
        """
        try:
            return [cache.held(file, self.command) for file in self.files]
        except FileNotFoundError as error:
            if not fetch:
                raise cache.NotFetched(
                    f"{error.args[0]} is not there: fetch it with `{self.command}`"
                ) from error
        size = sum(file.size for file in self.files) / 1e6
        if cache.answers(cache.PATIENCE):
            say(f"fetching the accuracies of {self.name}, {size:.1f} MB, into {cache.folder()}")
        return self.fetch(cache.PATIENCE)


_VIT_TASKS = (
    "c100_base_acc",
    "c100_kd_acc",
    "flower_base_acc",
    "flower_kd_acc",
    "chaoyang_base_acc",
    "chaoyang_kd_acc",
    "imagenet_super_acc",
)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        benchmark.name: benchmark
        for benchmark in (
            Benchmark(
                OFFICIAL,
                "nasbench201",
                "15,625 cells on CIFAR-10, CIFAR-100 and ImageNet16-120, 200 epochs",
                DATASETS,
                ("nats_bench.csv",),
                readers.read_nasbench201,
            ),
            Benchmark(
                "transnas-bench-101-micro",
                "transnas101-micro",
                "4,096 cells on seven tasks of Taskonomy",
                readers.TRANSNAS_TASKS,
                ("all_benchmarks_zen.zip",),
                readers.read_transnas101,
            ),
            Benchmark(
                "nas-bench-macro",
                "nasbench-macro",
                "6,561 networks on CIFAR-10, three trainings each",
                ("cifar10_test", "cifar10_test_1", "cifar10_test_2", "cifar10_test_3"),
                ("nas-bench-macro_cifar10.json",),
                readers.read_nasbenchmacro,
            ),
            Benchmark(
                "autoformer-tiny",
                "autoformer-tiny",
                "200 vision transformers on CIFAR-100, Flowers and Chaoyang, and in a supernet",
                _VIT_TASKS,
                ("gt_autoformer.pth", "gt_autoformer_2.pth"),
                readers.read_autoformer,
            ),
            Benchmark(
                "timm",
                None,
                "timm's pretrained models on ImageNet",
                ("top1", "top5"),
                ("timm_results-imagenet.csv",),
                readers.read_timm,
            ),
        )
    }
)


def named(name: str) -> Benchmark:
    """The benchmark of that name. Raises `AzlibError` for an unknown one."""
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]


def ground_truth(
    name: str, fetch: bool | None = None, say: Callable[[str], None] = print
) -> pd.DataFrame:
    """The table of a benchmark.

    Args:
        name: one of `BENCHMARKS`.
        fetch: whether to fetch what the cache lacks; by default unless the variable OFFLINE is set.
        say: what to do with the line about fetching.

    Returns:
        A frame indexed by architecture text (`arch`; the name of a model for "timm"), with a column
        for each task and for what else the benchmark publishes; `.attrs["source"]` is the name.

    Raises:
        AzlibError: an unknown name; a file that is damaged, and one that is missing and cannot be
            fetched, both with the command that fetches it.
    """
    benchmark = named(name)
    fetch = not cache.offline() if fetch is None else fetch
    table = benchmark.read(benchmark.paths(fetch, say))
    table.attrs |= {"source": name, "checksum": "SHA-256 as pinned"}
    return table


def accuracies(
    name: str, task: str, fetch: bool | None = None, say: Callable[[str], None] = print
) -> pd.Series:
    """One task of a benchmark, without the architectures that were not trained on it.

    Arguments and errors are those of `ground_truth`; a task that the benchmark lacks is refused.
    """
    benchmark = named(name)
    if task not in benchmark.tasks:
        raise unknown(f"task of {name}", task, benchmark.tasks)
    return ground_truth(name, fetch, say)[task].dropna()


def complete(say: Callable[[str], None] = print) -> None:
    """Fetches what the cache lacks, for work that can do without it.

    Nothing is fetched, and nothing said, where the variable OFFLINE is set or no server answers
    within a few seconds. What goes wrong after that is one line. Damaged files stay as they are:
    whoever needs them says so.

    Args:
        say: what to do with the line about fetching.
    """
    lacking = [benchmark for benchmark in BENCHMARKS.values() if benchmark.state() == "missing"]
    if not lacking or cache.offline() or not cache.answers(cache.PATIENCE):
        return
    size = sum(file.size for benchmark in lacking for file in benchmark.files) / 1e6
    say(
        f"fetching accuracies, {size:.1f} MB, into {cache.folder()}: "
        f"{', '.join(benchmark.name for benchmark in lacking)} (authors and licences: "
        "`azlib data --list`)"
    )
    try:
        for benchmark in lacking:
            benchmark.fetch(cache.PATIENCE)
    except cache.NotFetched as error:
        say(str(error))


def available(name: str, fetch: bool | None = None, say: Callable[[str], None] = print) -> bool:
    """Whether the table of a benchmark can be had, for code that can do without it.

    It can if the cache holds it, or if it is fetched now. If not, one line says why and which
    command fetches it. A server that does not answer is waited for a few seconds, and only once.

        if available("nas-bench-macro"):
            macro = ground_truth("nas-bench-macro")

    A notebook that is nothing without some benchmarks names them in a parameter `benchmarks`
    instead, a list: then `azlib figures` leaves it alone where one of them cannot be had.

    Arguments are those of `ground_truth`.

    Raises:
        AzlibError: an unknown name, or a file that is damaged.
    """
    benchmark = named(name)
    try:
        benchmark.paths(not cache.offline() if fetch is None else fetch, say)
    except cache.NotFetched as error:
        say(f"without {name}, as {error}")
        return False
    return True


def nas_bench_201(fetch: bool | None = None, say: Callable[[str], None] = print) -> str:
    """The source of NAS-Bench-201's ground truth, as `benchmarks.load` takes it.

    It is the path of the fetched file, with all three data sets. Where that is missing and cannot
    be fetched, it is the name of the embedded table, after one line that says so.
    """
    benchmark = named(OFFICIAL)
    fetch = not cache.offline() if fetch is None else fetch
    try:
        return str(benchmark.paths(fetch, say)[0])
    except cache.NotFetched as error:
        say(f"only CIFAR-10, from an independent training ({EMBEDDED}), as {error}")
        return EMBEDDED


def check_official(source: str, say: Callable[[str], None] = print) -> None:
    """Compares a user's own files of NAS-Bench-201 with the fetched table, if the cache holds it.

    Args:
        source: see `benchmarks.load`; a table that is not NAS-Bench-201's own is not compared.
        say: what to do with the line that says that they agree.

    Raises:
        AzlibError: as `benchmarks.load` and `check_same`.
    """
    if named(OFFICIAL).state() != "there":
        return
    official = benchmarks.load(source)
    if official.attrs["source"] == OFFICIAL:
        compared = check_same(official, ground_truth(OFFICIAL, fetch=False))
        say(f"{source}: its {compared:,} accuracies agree with those that `azlib data` fetched")


def check_same(official: pd.DataFrame, fetched: pd.DataFrame) -> int:
    """How many numbers two tables of one benchmark share, if they agree on all of these.

    Raises `AzlibError` if they do not; it says how many numbers differ, and the first three.
    """
    both = official.index.intersection(fetched.index)
    shared = [column for column in official if column in fetched]
    ours, theirs = official.loc[both, shared], fetched.loc[both, shared]
    pairs = pd.DataFrame({"official": ours.stack(), "fetched": theirs.stack()}).dropna()
    apart = pairs[(pairs["official"] - pairs["fetched"]).abs() > TOLERANCE]
    if len(apart):
        first = (
            f"{column} of {arch} is {row['official']:.2f} and was fetched as {row['fetched']:.2f}"
            for (arch, column), row in apart.head(3).iterrows()
        )
        raise AzlibError(
            f"{len(apart):,} of {len(pairs):,} accuracies of {official.attrs.get('path')} differ "
            f"from those that were fetched, the first: {'; '.join(first)}; one of the files is of "
            "another version, or altered"
        )
    return len(pairs)
