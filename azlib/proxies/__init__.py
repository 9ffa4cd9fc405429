"""The zero-cost proxies, and scores of single networks.

A proxy is a function of a `Probe`: one network at one seed. Every proxy returns one float, higher
is better, NaN where it is not defined, and leaves the network as it found it, so a score does not
depend on which other proxies were asked for. Importing this package registers all of them.
"""

from __future__ import annotations

from azlib.proxies import (
    activation_patterns,
    az,
    gradsign,
    graph,
    input_gradients,
    ntk,
    saliency,
    vkdnw,
    zen,
    zico,
)
from azlib.proxies.network import (
    Scored,
    blocks,
    check_device,
    one_thread,
    score,
    score_copy,
    score_in_place,
)
from azlib.proxies.probe import Probe, count_macs
from azlib.proxies.ranking import rank, score_each
from azlib.proxies.registry import REGISTRY, Proxy, adopt, members, names, own, proxy

__all__ = [
    "REGISTRY",
    "Probe",
    "Proxy",
    "Scored",
    "activation_patterns",
    "adopt",
    "az",
    "blocks",
    "check_device",
    "count_macs",
    "gradsign",
    "graph",
    "input_gradients",
    "members",
    "names",
    "ntk",
    "one_thread",
    "own",
    "proxy",
    "rank",
    "saliency",
    "score",
    "score_copy",
    "score_each",
    "score_in_place",
    "vkdnw",
    "zen",
    "zico",
]
