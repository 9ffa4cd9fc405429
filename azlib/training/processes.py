"""The processes that train one network together, as torchrun starts them.

PyTorch's own calls suffice here. accelerate wraps the same ones one for one, and keeps its device
and precision for the life of the program, so that a second `train` could not choose others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from azlib.errors import AzlibError, reason

START = "start it with torchrun, or unset RANK, LOCAL_RANK and WORLD_SIZE to train in one process"


@dataclass(frozen=True)
class Process:
    """One of `world` processes, counted from 0; the first writes the files."""

    rank: int
    world: int
    device: torch.device

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model with gradients that are averaged over the processes."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def share(self, buffers: Iterable[Tensor]) -> None:
        """Gives every process the first one's buffers: running statistics may differ."""
        for buffer in buffers if self.world > 1 else ():
            distributed.broadcast(buffer, 0)

    def union(self, names: set[str]) -> set[str]:
        """What any of the processes has in its set."""
        gathered: list = [names] * self.world
        if self.world > 1:
            distributed.all_gather_object(gathered, names)
        return set().union(*gathered)


def is_first() -> bool:
    """Whether this process writes the files and speaks to the user."""
    return _number("RANK", "0") == 0


@contextmanager
def processes(device: str) -> Iterator[Process]:
    """This process, with its device; torchrun's variables say which it is.

    device: "cpu" or "cuda". Raises `AzlibError` where the variables say nothing sensible, where
    there is no such device, and where the other processes cannot be reached.
    """
    rank, local, world = (
        _number(name, default)
        for name, default in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"))
    )
    if rank >= world:
        raise AzlibError(f"RANK={rank} with WORLD_SIZE={world}: expected less; {START}")
    if world > 1:
        _number("MASTER_PORT")
        if not os.environ.get("MASTER_ADDR"):
            raise AzlibError(f"WORLD_SIZE={world} without MASTER_ADDR: {START}")
    process = Process(rank, world, _place(device, local))
    if world == 1:
        yield process
        return
    try:
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise AzlibError(
            f"the {world} processes of MASTER_ADDR={os.environ['MASTER_ADDR']} do not meet "
            f"({reason(error)}): {START}"
        ) from error
    try:
        yield process
    finally:
        distributed.destroy_process_group()


def _place(device: str, local: int) -> torch.device:
    """The device of the process of number `local` on this machine."""
    if device != "cuda":
        return torch.device(device)
    if not torch.cuda.is_available():
        raise AzlibError(
            "device='cuda': PyTorch sees no CUDA device; use device='cpu', or install a CUDA build "
            "of PyTorch on a machine with one"
        )
    if local >= (count := torch.cuda.device_count()):
        raise AzlibError(
            f"LOCAL_RANK={local}: PyTorch sees {count} CUDA devices; start as many processes"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _number(name: str, default: str | None = None) -> int:
    """An environment variable of torchrun as a number; without a default it has to be there."""
    text = os.environ.get(name, default)
    if text is None:
        raise AzlibError(f"WORLD_SIZE without {name}: {START}")
    if not re.fullmatch("[0-9]{1,5}", text):
        raise AzlibError(f"{name}={text!r}: expected a number of at most five digits; {START}")
    return int(text)
