"""The commands for what a search found: `train` and `export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from azlib.cli.options import expanded
from azlib.cli.state import keeping
from azlib.cli.text import read_values

Structure = Annotated[str, typer.Argument(help="structure text, or the .json of a search")]
Space = Annotated[
    str | None,
    typer.Option(help="default: mobilenetv2, or the file's; your own: my_space.py:MySpace"),
]


@dataclass(frozen=True)
class RecipeOptions:
    """How the network is trained."""

    recipe: Annotated[
        str | None,
        typer.Option(help="plain, distilled, autoformer, autoformer-base (default: the space's)"),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="name=value of the recipe, e.g. batch=64; repeatable"),
    ] = None
    resolution: Annotated[int, typer.Option(help="pixels that the network sees")] = 224
    teacher: Annotated[
        str | None, typer.Option(help="TorchScript file or OWNER/REPOSITORY:MODEL of torch.hub")
    ] = None
    seed: Annotated[int, typer.Option(help="seed of weights, order and augmentation")] = 1
    workers: Annotated[int, typer.Option(help="loading processes for each process")] = 4
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu"


@expanded
def train(
    structure: Structure,
    folder: Annotated[Path, typer.Argument(help="images: train/CLASS/*.jpg and val/CLASS/*.jpg")],
    out: Annotated[Path, typer.Option(help="folder of checkpoints and log; continued if there")],
    how: RecipeOptions,
    space: Space = None,
) -> None:
    """Train a found network on an image folder; under torchrun, on several GPUs."""
    from azlib import spaces
    from azlib.training.export import read_structure
    from azlib.training.folders import read_folder
    from azlib.training.processes import is_first
    from azlib.training.recipes import Network, TrainSettings, adjusted, named
    from azlib.training.trainer import train as run

    name, text = read_structure(structure, space)
    recipe = spaces.get(name).recipe if how.recipe is None else how.recipe
    network = Network(name, text, len(read_folder(folder).classes), how.resolution)
    with keeping(f"the epochs so far are kept in {out}, the same command continues"):
        log = run(
            network,
            folder,
            out,
            adjusted(named(recipe), read_values(how.settings)),
            TrainSettings(how.seed, how.workers, how.device, how.teacher),
        )
    if is_first():
        best = log.loc[log["top1"].idxmax()]
        typer.echo(f"best top-1 {best['top1']:.2f} % in epoch {best['epoch']:.0f}; wrote {out}")


def export(
    structure: Structure,
    out: Annotated[Path, typer.Option(help="file to write")],
    to: Annotated[str, typer.Option(help="torchscript, onnx or state-dict")] = "torchscript",
    space: Space = None,
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
