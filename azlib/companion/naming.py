"""What the pictures call data sets, proxies and settings; CSVs keep the names of the code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

NAMES: Mapping[str, str] = MappingProxyType(
    {
        # data sets and tasks, as `azlib.companion.data` calls them
        "cifar10": "CIFAR-10",
        "cifar100": "CIFAR-100",
        "imagenet16-120": "ImageNet16-120",
        "class_object": "object classes",
        "class_scene": "scene classes",
        "room_layout": "room layout",
        "segmentsemantic": "segmentation",
        "normal": "surface normals",
        "cifar10_test": "CIFAR-10",
        "c100_base_acc": "CIFAR-100",
        "c100_kd_acc": "CIFAR-100, distilled",
        "flower_base_acc": "Flowers",
        "flower_kd_acc": "Flowers, distilled",
        "chaoyang_base_acc": "Chaoyang",
        "chaoyang_kd_acc": "Chaoyang, distilled",
        "imagenet_super_acc": "ImageNet, supernet",
        # spaces
        "autoformer-tiny": "AutoFormer-tiny",
        "tf-tas": "TF-TAS",
        "mobilenetv2": "MobileNetV2",
        "mobilenetv2-superblocks": "MobileNetV2, super-blocks",
        # proxies and assemblies, as `azlib.companion.methods` calls those that have a paper
        "az-nas": "AZ-NAS",
        "params": "#Params",
        "trainable_layers": "Trainable layers",
        "grad_norm": "GradNorm",
        "snip": "SNIP",
        "grasp": "GraSP",
        "synflow": "SynFlow",
        "fisher": "Fisher",
        "naswot": "NASWOT",
        "jacov": "Jacov",
        "epe_nas": "EPE-NAS",
        "zen": "Zen",
        "gradsign": "GradSign",
        "gradsign_mean": "GradSign mean",
        "zico": "ZiCo",
        "effective_depth": "Depth",
        "sharp_depth": "Sharp depth",
        "mean_depth": "Mean depth",
        "mean_sharp_depth": "Mean sharp depth",
        "live_paths": "Live paths",
        # initialisations and inputs
        "kaiming_norm_fanin": "Kaiming normal, fan-in",
        "kaiming_norm_fanout": "Kaiming normal, fan-out",
        "kaiming_uni_fanin": "Kaiming uniform, fan-in",
        "kaiming_uni_fanout": "Kaiming uniform, fan-out",
        "plain_norm": "plain normal",
        "plain_uni": "plain uniform",
        "xavier_norm": "Xavier normal",
        "xavier_uni": "Xavier uniform",
        "gaussian": "Gaussian noise",
    }
)
"""The name for readers, by the name in the code."""
_WORD = re.compile(r"[\w-]+")


def readable(text: str) -> str:
    """A text with the names for readers in the place of those of the code."""
    return _WORD.sub(lambda word: NAMES.get(word[0], word[0]), text)
