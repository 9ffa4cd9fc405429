"""Kernels for many notebooks: each is a copy of one process that has imported everything.

Much of a short notebook's time is a new Python that imports PyTorch, pandas and seaborn. The server
of `multiprocessing` imports them once (`azlib.companion.preloaded`) and is then forked.
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from typing import Any, cast

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from azlib.scoring.pool import end_with_parent

_NAME = "azlib-forked"
_LAUNCHER = "ipykernel_launcher"


def use() -> None:
    """From now on, the kernels that this process starts are forked, where the system can.

    The server begins to import at once, with the environment of this moment. A process that was
    itself forked from one with a server cannot have its own: its kernels start as usual.
    """
    if sys.platform == "linux":  # forks of macOS' own libraries crash
        forkserver.set_forkserver_preload([f"{__package__}.preloaded"])
        with suppress(ChildProcessError):  # somebody else's server
            forkserver.ensure_running()
        factory = KernelProvisionerFactory.instance()
        value = f"{__name__}:{ForkedKernel.__name__}"
        factory.provisioners[_NAME] = EntryPoint(_NAME, value, factory.GROUP_NAME)
        factory.default_provisioner_name = _NAME


class ForkedKernel(LocalProvisioner):
    """Starts kernels of IPython as copies of the server, any other kernel as usual."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Starts what the command would start, and returns how to connect to it."""
        if _LAUNCHER not in cmd:
            return await super().launch_kernel(cmd, **kwargs)
        arguments = cmd[cmd.index(_LAUNCHER) + 1 :]
        self.cwd = kwargs.get("cwd") or os.getcwd()
        try:
            process = _Process(arguments, self.cwd, dict(kwargs["env"]))
        except ChildProcessError:  # somebody else's server
            return await super().launch_kernel(cmd, **kwargs)
        self.pid, self.process = process.pid, cast(Any, process)
        return self.connection_info


class _Process:
    """A forked kernel, with what Jupyter uses of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
        self._process = ForkServerProcess(target=_serve, args=(arguments, folder, environment))
        self._process.start()
        self.pid = self._process.pid or 0
        self.kill, self.terminate = self._process.kill, self._process.terminate

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def _serve(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Makes a copy of the server the kernel that a new Python would have been."""
    import numpy
    import torch
    from ipykernel.kernelapp import launch_new_instance

    for seed in (random.seed, numpy.random.seed, torch.seed):
        seed()  # a copy would draw what every other copy draws
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    end_with_parent()
    # Where pictures go is what a new Python would find out when it imports matplotlib.
    launch_new_instance(argv=[*arguments, "--IPKernelApp.matplotlib=inline"])
