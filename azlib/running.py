"""Running models that somebody else wrote: the forward pass, its gradients, what it returns."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from azlib.errors import AzlibError, out_of_memory, reason

_LOGITS = ("logits", "out", "last_hidden_state")  # what models call their result in a dictionary


def modules(model: nn.Module) -> list[nn.Module]:
    """Those of `model.modules()`, in that order, several times as fast as it finds them."""
    found: dict[nn.Module, None] = {}
    to_see = [model]
    while to_see:
        module = to_see.pop()
        if module not in found:
            found[module] = None
            children = [child for child in module._modules.values() if child is not None]
            to_see += reversed(children)
    return list(found)


@contextmanager
def differentiable(model: nn.Module, parameters: Iterable[Tensor]) -> Iterator[None]:
    """Inside, gradients flow to these parameters of the model alone, frozen ones included.

    Afterwards every parameter has the `requires_grad` that it had before.
    """
    wanted = set(map(id, parameters))
    flags = [
        (parameter, parameter.requires_grad)
        for module in modules(model)
        for parameter in module._parameters.values()
        if parameter is not None
    ]
    try:
        for parameter, _ in flags:
            parameter.requires_grad = id(parameter) in wanted
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad = flag


def laid_out(inputs: Tensor) -> Tensor:
    """The same, images on a CPU with their channels last and all else with its channels first.

    Convolutions run faster so on a CPU. On a GPU they do not, and the gradient of average pooling
    with padding is wrong there for channels that are last (PyTorch's issue 188344, of 2026).
    """
    last = inputs.dim() == 4 and inputs.device.type == "cpu"
    return inputs.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def moved(model: nn.Module, device: str) -> nn.Module:
    """The model on a device; on a GPU with the layout of weights that suits its `laid_out` inputs.

    For weights with their channels last a convolution returns features with their channels last.
    """
    if device == "cpu":
        return model if _on_cpu(model) else model.to(device)
    return model.to(device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _on_cpu(model: nn.Module) -> bool:
    """Whether all is there already, which is found out faster than `Module.to` moves nothing."""
    held = (h for module in modules(model) for h in (module._parameters, module._buffers))
    return all(t is None or t.device.type == "cpu" for tensors in held for t in tensors.values())


@contextmanager
def forked_rng(device: str | torch.device) -> Iterator[None]:
    """Inside, global random numbers of PyTorch, Python and NumPy may be drawn; afterwards these
    streams go on as before.

    Those of other devices are not looked at: that would start CUDA on every GPU of the machine.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([] if str(device) == "cpu" else [device]):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextmanager
def exact(device: str | torch.device) -> Iterator[None]:
    """Inside, a GPU multiplies numbers in single precision as they are, and cuDNN repeats itself.

    Convolutions on NVIDIA's GPUs otherwise round what they multiply to the ten bits of TF32, and
    cuDNN may add up in another order each time.
    """
    if str(device) == "cpu":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    repeated = (cudnn, "deterministic", True), (cudnn, "benchmark", False)
    products = _rounding_of_products()
    if products is not None:
        with switched(*repeated, (cudnn, "allow_tf32", False)), _exact_products(products):
            yield
    else:
        parts = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
        with switched(*repeated, *((part, "fp32_precision", "ieee") for part in parts)):
            yield


def _rounding_of_products() -> str | None:
    """How matrix products are rounded, by the old name of that switch.

    None if the user has set switches of new names, with which the old ones may not be mixed.
    """
    if getattr(torch.backends, "fp32_precision", "none") != "none":
        return None
    try:
        _, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        return None
    return products


@contextmanager
def _exact_products(usual: str) -> Iterator[None]:
    """Inside, matrix products are not rounded; afterwards they are as usual."""
    if usual == "highest":
        yield
        return
    on_cpu: Any = getattr(torch.backends.mkldnn, "matmul", None)  # the old name sets it, too
    held = None if on_cpu is None else on_cpu.fp32_precision
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(usual)
        if on_cpu is not None:
            on_cpu.fp32_precision = held


@contextmanager
def switched(*switches: tuple[Any, str, Any]) -> Iterator[None]:
    """Inside, switches of PyTorch (whose, name, value) have these values.

    Those that have them already are left alone, as PyTorch tells what was set from what is so by
    default.
    """
    others = [(part, name, value) for part, name, value in switches if getattr(part, name) != value]
    held = [getattr(part, name) for part, name, _ in others]
    try:
        with torch.backends.__allow_nonbracketed_mutation():
            for part, name, value in others:
                setattr(part, name, value)
        yield
    finally:
        with torch.backends.__allow_nonbracketed_mutation():
            for (part, name, _), value in zip(others, held, strict=True):
                setattr(part, name, value)


def forward(model: nn.Module, inputs: Tensor) -> Any:
    """What the model returns; whatever it raises becomes an `AzlibError` of one line."""
    try:
        return model(inputs)
    except AzlibError:
        raise
    except Exception as error:  # a stranger's forward pass can fail in any way
        if out_of_memory(error):
            raise AzlibError("out of memory: lower the batch or the resolution") from error
        hint = ""
        if isinstance(error, TypeError) and "argument" in str(error):
            hint = "; a model that takes other arguments needs a wrapper that takes one tensor"
        elif "indices" in str(error) and inputs.is_floating_point():
            hint = (
                "; token ids are drawn for a model with `config.vocab_size` or an embedding first"
            )
        raise AzlibError(
            f"{type(model).__name__} does not run on an input of shape {tuple(inputs.shape)}: "
            f"{reason(error)}{hint}"
        ) from error


@contextmanager
def unfused(model: nn.Module) -> Iterator[None]:
    """Inside, attention and recurrent layers run as the matrix products that they are.

    The fast kernels are single operations, which hide their products from whoever counts them and
    have no second derivative.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), ExitStack() as stack:
            if any(isinstance(module, nn.RNNBase) for module in model.modules()):
                stack.enter_context(switched((torch.backends.cudnn, "enabled", False)))
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter(
                    "ignore"
                )  # about GPUs of another kind, whenever flags are set
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


# --- what a model returns --------------------------------------------------------------------


def main_tensor(output: Any) -> Tensor | None:
    """The tensor that a module returns, or the first floating-point one of several.

    In a dictionary that names its logits or its last hidden state, that one. None without any.
    """
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    for part in _parts(output):
        if (found := main_tensor(part)) is not None:
            return found
    return None


def with_main_tensor(output: Any, tensor: Tensor) -> Any:
    """The same output with another tensor in the place of its main one."""
    if isinstance(output, Tensor):
        return tensor
    main = main_tensor(output)
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        for key, part in output.items():
            if main_tensor(part) is main:
                changed[key] = with_main_tensor(part, tensor)
                break
        return changed
    parts = list(output)
    position = next(i for i, part in enumerate(parts) if main_tensor(part) is main)
    parts[position] = with_main_tensor(parts[position], tensor)
    if hasattr(output, "_fields"):  # a named tuple
        return type(output)(*parts)
    return type(output)(parts)


def logits_of(output: Any) -> Tensor | None:
    """The logits (B, K) among what a classifier returns; None where that is not clear."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) or hasattr(output, "_fields"):
        named = output if isinstance(output, Mapping) else output._asdict()
        for name in _LOGITS[:2]:
            if isinstance(named.get(name), Tensor):
                return named[name]
    tables = [t for t in _parts(output) if isinstance(t, Tensor) and t.dim() == 2]
    return tables[0] if len(tables) == 1 else None


def logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """The logits of a classifier. Raises `AzlibError` where it is not clear which those are."""
    output = forward(model, inputs)
    found = logits_of(output)
    if found is None:
        raise AzlibError(
            f"this proxy needs a classifier that returns (batch, classes), the network returns "
            f"{type(output).__name__}"
        )
    return found


def _parts(output: Any) -> list[Any]:
    """What a tuple, a list or a dictionary holds, named results first."""
    if isinstance(output, Mapping):
        named = [output[name] for name in _LOGITS if name in output]
        return [*named, *(part for name, part in output.items() if name not in _LOGITS)]
    return list(output) if isinstance(output, list | tuple) else []
