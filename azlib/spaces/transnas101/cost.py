"""What a TransNAS-Bench-101 micro network costs, counted from its text."""

from __future__ import annotations

from azlib.spaces.cells.text import EDGES, KERNELS
from azlib.spaces.transnas101.text import CELLS, REDUCTION, STEM_CHANNELS, parse, reducing


def count(arch: str, num_classes: int = 75, resolution: int = 256) -> dict[str, float]:
    """The multiply-accumulates (MACs) for one image and the parameters, dead edges included.

    Convolutions and the classifier have MACs. Normalisation, pooling, the bias of the classifier
    and the sums of the cell have none.

    Args:
        arch: the architecture.
        num_classes: the number of outputs of the classifier.
        resolution: pixels along a side of the image.
    """
    operations = parse(arch)
    macs = params = 0
    size, before = resolution, 3
    for channels in STEM_CHANNELS:
        size = (size + 1) // 2
        macs += 9 * before * channels * size**2
        params += 9 * before * channels + 2 * channels
        before = channels
    for channels, stride in CELLS:
        size = (size + stride - 1) // stride
        for (source, _), operation in zip(
            EDGES, reducing(operations) if stride > 1 else operations, strict=True
        ):
            if operation in KERNELS or operation == REDUCTION:
                inputs = before if source == 0 else channels
                weights = KERNELS.get(operation, 1) ** 2 * inputs * channels
                macs += weights * size**2
                params += weights + 2 * channels
        before = channels
    return {
        "macs": float(macs + before * num_classes),
        "params": float(params + (before + 1) * num_classes),
    }
