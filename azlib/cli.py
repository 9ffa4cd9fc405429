"""The command line: `python -m azlib --help`."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from azlib.errors import AzlibError, unknown

app = typer.Typer(
    help="Rank neural networks without training them (AZ-NAS).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
benchmark = typer.Typer(help="The ground truth: look at it, export it.", no_args_is_help=True)
app.add_typer(benchmark, name="benchmark")

Source = Annotated[
    str,
    typer.Argument(
        help="analog-nasbench (built in), a NAS-Bench-201 .pth, a NATS-Bench folder, or a CSV"
    ),
]


BUDGET = "mobilenetv2: FLOPs, such as 450M; autoformer: default or tf-tas"


@app.command()
def sweep(
    out: Annotated[Path, typer.Option(help="Parquet file to write")],
    space: Annotated[str, typer.Option(help="search space")] = "nasbench201",
    proxies: Annotated[str, typer.Option(help='"az" or names joined by commas')] = "az",
    seed: Annotated[str, typer.Option(help="seeds: 1 or 1,2,3 or 1-5")] = "1",
    batch: Annotated[int, typer.Option(help="images")] = 64,
    resolution: Annotated[int | None, typer.Option(help="pixels (default: the space's)")] = None,
    init: Annotated[
        str | None, typer.Option(help="weight initialisation (default: the space's)")
    ] = None,
    train: Annotated[
        bool | None,
        typer.Option("--train/--eval", help="batch or running statistics (default: the space's)"),
    ] = None,
    input: Annotated[
        str, typer.Option(help="gaussian, or a source of images, for proxies that read noise")
    ] = "gaussian",
    images: Annotated[
        str, typer.Option(help="patches or e.g. cifar10=FOLDER, for proxies that read images")
    ] = "patches",
    workers: Annotated[
        int | None, typer.Option(help="processes, one thread each (default: one per core)")
    ] = None,
    chunk: Annotated[int, typer.Option(help="architectures per task and part file")] = 32,
    unique: Annotated[bool, typer.Option(help="score networks that are the same once")] = False,
    archs: Annotated[
        Path | None, typer.Option(help="text file, one architecture a line (default: all)")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(help="only so many random architectures (always the same)")
    ] = None,
    budget: Annotated[str | None, typer.Option(help=BUDGET + "; for --sample")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler, tcp://...")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
) -> None:
    """Score many architectures; run the same command again to continue a stopped sweep."""
    from azlib import spaces
    from azlib.scoring.sweep import sample as draw
    from azlib.scoring.sweep import sweep as run

    chosen = spaces.get(space, resolution, **_budget(space, budget))
    stream = _lines(archs) if archs is not None else None
    if sample is not None:
        stream = draw(chosen, sample, stream)
    path = run(
        chosen,
        out,
        proxies=proxies,
        seeds=_seeds(seed),
        archs=stream,
        unique=unique,
        batch=batch,
        resolution=resolution,
        init=init,
        train=train,
        input=input,
        images=images,
        workers=workers,
        chunk=chunk,
        scheduler=scheduler,
        device=device,
    )
    typer.echo(f"wrote {path}")


@app.command()
def search(
    out: Annotated[Path, typer.Option(help="Parquet file of the log; a .json lies beside it")],
    space: Annotated[str, typer.Option(help="search space")] = "mobilenetv2",
    budget: Annotated[str | None, typer.Option(help=BUDGET)] = None,
    rule: Annotated[
        str | None,
        typer.Option(help="algorithm-1 or random (default: random in the AutoFormer spaces)"),
    ] = None,
    iterations: Annotated[int, typer.Option(help="accepted candidates")] = 2000,
    population: Annotated[
        int | None,
        typer.Option(help="candidates that may be parents (default: 1 % of the iterations)"),
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the search and its scores")] = 123,
    preset: Annotated[
        str | None, typer.Option(help="paper or cpu (default: cpu on a cpu, else paper)")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="images (default: the preset's)")] = None,
    resolution: Annotated[int | None, typer.Option(help="pixels (default: the preset's)")] = None,
    generation: Annotated[
        int | None,
        typer.Option(help="candidates proposed at once (default: 1; random search: 16)"),
    ] = None,
    workers: Annotated[int, typer.Option(help="processes; useful up to --generation")] = 1,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="log of another budget whose scores to take over; repeatable"),
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler, tcp://...")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
) -> None:
    """Search a space: Algorithm 1, or random search in the AutoFormer spaces."""
    from dataclasses import replace

    from azlib import spaces
    from azlib.search import Algorithm1, Live, RandomSearch, share
    from azlib.search import search as run

    chosen = spaces.get(space, **_budget(space, budget))
    rules = {
        "algorithm-1": lambda: Algorithm1(share(iterations) if population is None else population),
        "random": RandomSearch,
    }
    rule = rule or ("random" if space.startswith("autoformer") else "algorithm-1")
    if rule not in rules:
        raise unknown("rule", rule, rules)
    live = Live.at(chosen, preset, seed, device)
    changed = {"batch": batch or live.batch, "resolution": resolution or live.resolution}
    if generation is None:
        generation = 16 if rule == "random" else 1
    result = run(
        chosen,
        rules[rule](),
        replace(live, **changed),
        iterations=iterations,
        seed=seed,
        generation=generation,
        workers=workers,
        scheduler=scheduler,
        reuse=reuse or (),
        out=out,
    )
    typer.echo(f"{result.structure}\nwrote {out}")


@app.command()
def train(
    structure: Annotated[str, typer.Argument(help="structure text, or the .json of a search")],
    folder: Annotated[Path, typer.Argument(help="images: train/CLASS/*.jpg and val/CLASS/*.jpg")],
    out: Annotated[Path, typer.Option(help="folder of checkpoints and log; continued if there")],
    space: Annotated[str | None, typer.Option(help="default: mobilenetv2, or the file's")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="plain, distilled, autoformer, autoformer-base (default: the space's)"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="name=value of the recipe, e.g. batch=64; repeatable"),
    ] = None,
    resolution: Annotated[int, typer.Option(help="pixels that the network sees")] = 224,
    seed: Annotated[int, typer.Option(help="seed of weights, order and augmentation")] = 1,
    workers: Annotated[int, typer.Option(help="loading processes for each process")] = 4,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    teacher: Annotated[
        str | None, typer.Option(help="TorchScript file or OWNER/REPOSITORY:MODEL of torch.hub")
    ] = None,
) -> None:
    """Train a found network on an image folder; under torchrun, on several GPUs."""
    from azlib.training.export import read_structure
    from azlib.training.folders import read_folder
    from azlib.training.recipes import Network, adjusted, named
    from azlib.training.trainer import train as run

    space, structure = read_structure(structure, space)
    if recipe is None:
        recipe = "autoformer" if space.startswith("autoformer") else "plain"
        recipe += "-base" if space == "autoformer-base" else ""
    network = Network(space, structure, len(read_folder(folder).classes), resolution)
    log = run(
        network,
        folder,
        out,
        adjusted(named(recipe), _named_values(settings)),
        seed=seed,
        workers=workers,
        device=device,
        teacher=teacher,
    )
    if os.environ.get("RANK", "0") == "0":
        best = log.loc[log["top1"].idxmax()]
        typer.echo(f"best top-1 {best['top1']:.2f} % in epoch {best['epoch']:.0f}; wrote {out}")


@app.command()
def export(
    structure: Annotated[str, typer.Argument(help="structure text, or the .json of a search")],
    out: Annotated[Path, typer.Option(help="file to write")],
    to: Annotated[str, typer.Option(help="torchscript, onnx or state-dict")] = "torchscript",
    space: Annotated[str | None, typer.Option(help="default: mobilenetv2, or the file's")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="best.pt of azlib train (default: untrained)")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="outputs (default: as trained, or 1000)")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="pixels of the input (default: as trained, or 224)")
    ] = None,
) -> None:
    """Write a network for other programs, and check that it computes the same."""
    from azlib.training.export import choose
    from azlib.training.export import export as run

    network = choose(structure, space, weights, classes, resolution)
    difference = run(network, to, out, weights)
    untrained = "" if weights else " (untrained)"
    typer.echo(f"wrote {out}{untrained}; read back, its logits differ by at most {difference:.1e}")


@app.command("check-scores")
def check_scores(
    files: Annotated[list[Path], typer.Argument(help="score files")],
    count: Annotated[int, typer.Option(help="rows to recompute in each file")] = 5,
    seed: Annotated[int, typer.Option(help="seed of the choice of rows")] = 0,
    tolerance: Annotated[float, typer.Option(help="largest relative difference")] = 1e-3,
) -> None:
    """Recompute a random handful of committed scores and compare."""
    from azlib.scoring.sweep import recompute

    for path in files:
        worst = recompute(path, count, seed)
        typer.echo(f"{path}: {count} rows recomputed, largest relative difference {worst:.1e}")
        if not worst <= tolerance:
            raise AzlibError(f"{path} differs from this code by more than {tolerance:g}")


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(help="notebook to execute")],
    output: Annotated[Path, typer.Argument(help="executed copy to write")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=value, repeatable")
    ] = None,
) -> None:
    """Execute a copy of a notebook with other parameters."""
    from azlib.companion.notebooks import run as execute

    typer.echo(f"wrote {execute(notebook, output, _named_values(parameter))}")


@benchmark.command("info")
def benchmark_info(source: Source = "analog-nasbench") -> None:
    """Say what a ground truth holds."""
    from azlib.companion import benchmarks

    table = benchmarks.info(source)
    for key, value in table.attrs.items():
        typer.echo(f"{key}: {value}")
    typer.echo(table.to_string())


@benchmark.command("export")
def benchmark_export(
    source: Source, out: Annotated[Path, typer.Argument(help="CSV file to write")]
) -> None:
    """Write a ground truth as a CSV that loads in under a second."""
    from azlib.companion import benchmarks

    benchmarks.export(source, out)
    typer.echo(f"wrote {out}")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise AzlibError(f"no file {path}: expected one architecture a line")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _budget(space: str, text: str | None) -> dict[str, str | float]:
    """The option `budget` of a space: a name, or FLOPs as 450M, 450e6 or 450000000."""
    if text is None:
        return {}
    if space.startswith("autoformer"):
        return {"budget": text}
    if not space.startswith("mobilenetv2"):
        raise AzlibError(f"the space {space} has no budget: leave --budget out")
    number, unit = (text[:-1], 1e6) if text.endswith("M") else (text, 1)
    try:
        return {"budget": float(number) * unit}
    except ValueError:
        raise AzlibError(f"budget {text!r}: expected FLOPs, such as 450M or 450e6") from None


def _seeds(text: str) -> list[int]:
    """`1`, `1,2,3` or `1-5`."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds += range(int(first), int(last or first) + 1)
    except ValueError:
        seeds = []
    if not seeds:
        raise AzlibError(f"seeds {text!r}: expected 1 or 1,2,3 or 1-5")
    return seeds


def _named_values(texts: list[str] | None) -> dict:
    values = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator:
            raise AzlibError(f"parameter {text!r}: expected name=value")
        values[name.strip()] = _literal(value)
    return values


def _literal(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    """Runs the command line; an `AzlibError` becomes one line on stderr and exit status 1."""
    try:
        app()
    except AzlibError as error:
        print(f"azlib: {error}", file=sys.stderr)
        sys.exit(1)
