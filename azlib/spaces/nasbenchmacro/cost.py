"""What a NAS-Bench-Macro network costs, counted from its text."""

from __future__ import annotations

from azlib.spaces.nasbenchmacro.text import LAST_CHANNELS, STEM_CHANNELS, layers


def count(arch: str, num_classes: int = 10, resolution: int = 32) -> dict[str, float]:
    """The multiply-accumulates (MACs) for one image and the parameters, as the benchmark counts.

    Convolutions and the classifier have MACs. Normalisation, pooling, the bias of the classifier
    and the shortcuts have none.

    Args:
        arch: the architecture.
        num_classes: the number of outputs of the classifier.
        resolution: pixels along a side of the image.
    """
    size = resolution
    macs = 27 * STEM_CHANNELS * size**2
    params = (27 + 2) * STEM_CHANNELS
    channels = STEM_CHANNELS
    for inputs, channels, stride, operation in layers(arch):
        before, size = size, (size + stride - 1) // stride
        if operation is None:
            macs += inputs * channels * size**2
            params += inputs * channels + 2 * channels
            continue
        hidden = operation.expansion * inputs
        depthwise = operation.kernel**2 * hidden
        macs += inputs * hidden * before**2 + (depthwise + hidden * channels) * size**2
        params += inputs * hidden + depthwise + hidden * channels + 4 * hidden + 2 * channels
    macs += channels * LAST_CHANNELS * size**2 + LAST_CHANNELS * num_classes
    params += (channels + 2) * LAST_CHANNELS + (LAST_CHANNELS + 1) * num_classes
    return {"macs": float(macs), "params": float(params)}
