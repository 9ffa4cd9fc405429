"""The JSON file beside a score file: what the scores are and how they came about."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path

from azlib.files import replacing
from azlib.scoring.files import FileSettings, read


def write_datasheet(out: Path, settings: FileSettings) -> None:
    """Writes `<out>.json`: settings, seeds, time, checksum, versions and machine."""
    scores = read(out)
    sheet = {
        "file": out.name,
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "rows": len(scores),
        "seeds": sorted(int(seed) for seed in scores["seed"].unique()),
        "settings": settings.to_dict(),
        "seconds_per_architecture": {
            "median": float(scores["seconds"].median()),
            "total_hours": float(scores["seconds"].sum() / 3600),
        },
        "failed": int(scores[list(settings.score.proxies)].isna().all(axis=1).sum()),
        **machine(settings.score.device),
    }
    with replacing(out.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(sheet, indent=2) + "\n")


def describes(out: Path) -> bool:
    """Whether the datasheet beside a score file is there, and is that of this very file."""
    try:
        sheet = json.loads(out.with_suffix(".json").read_text())
        return bool(sheet["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest())
    except (OSError, ValueError, LookupError, TypeError):
        return False


def machine(device: str = "cpu") -> dict[str, object]:
    """Versions of the packages that compute scores, of Python, the processor and the device."""
    return {
        "versions": {name: metadata.version(name) for name in ("azlib", "torch", "numpy")},
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        **_gpu(device),
    }


def _gpu(device: str) -> dict[str, str]:
    """The name of the GPU, if that is where scores were computed, and this is the machine."""
    if device == "cpu":
        return {}
    import torch

    return {"gpu": torch.cuda.get_device_name(device)} if torch.cuda.is_available() else {}


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return platform.processor() or platform.machine()
