"""What a NAS-Bench-201 network costs, counted from its string."""

from __future__ import annotations

from azlib.spaces.cells.text import KERNELS
from azlib.spaces.nasbench201.text import CELLS_PER_STAGE, CHANNELS, parse, without_dead_edges


def count(
    arch: str, num_classes: int = 10, resolution: int = 32, live: bool = False
) -> dict[str, float]:
    """The multiply-accumulates (MACs) for one image and the parameters, as the benchmark counts.

    Convolutions and the classifier have MACs, and so has the addition of the classifier's bias.
    Normalisation, pooling and the sums of the cell have none.

    Args:
        arch: the architecture.
        num_classes: the number of outputs of the classifier.
        resolution: pixels along a side of the image.
        live: whether to leave out the convolutions on dead edges.
    """
    operations = parse(without_dead_edges(arch) if live else arch)
    kernels = [KERNELS[operation] for operation in operations if operation in KERNELS]
    weights_per_channel_pair = sum(kernel**2 for kernel in kernels)
    first = CHANNELS[0]
    macs = 27 * first * resolution**2
    params = 27 * first + 2 * first
    size = resolution
    for stage, channels in enumerate(CHANNELS):
        if stage:
            before = channels // 2
            size = (size + 1) // 2
            block = 9 * before * channels + 9 * channels**2 + before * channels
            macs += block * size**2
            params += block + 4 * channels
        cell = weights_per_channel_pair * channels**2
        macs += CELLS_PER_STAGE * cell * size**2
        params += CELLS_PER_STAGE * (cell + 2 * channels * len(kernels))
    last = CHANNELS[-1]
    head = (last + 1) * num_classes
    return {"macs": float(macs + head), "params": float(params + 2 * last + head)}
