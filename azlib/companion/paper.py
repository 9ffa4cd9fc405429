"""Every published number that azlib compares with, each with where it is from.

The blocks below hold the numbers in the shape of their source: one line per method, one column
per data set (or FLOPs budget, or AutoFormer size), the statistics of one cell separated by "/".
An empty cell is a number we do not know; none is filled in by guessing.

Units: accuracies in percent, FLOPs and parameters as absolute numbers, search cost in GPU days.
Sets of architectures of NAS-Bench-201: "all" 15,625, or the 9,445 with "no-dead-edges".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import pandas as pd

from azlib.errors import unknown


@dataclass(frozen=True)
class Published:
    """One published number; `std` is NaN and a text is "" where the source has none."""

    exhibit: str
    method: str
    dataset: str  # or the FLOPs budget of Table 2 ("450M"), or the AutoFormer size ("tiny")
    architectures: str  # "all", "no-dead-edges", or ""
    statistic: str
    value: float
    std: float
    source: str


def frame() -> pd.DataFrame:
    """All published numbers, one per row, with the fields of `Published` as columns."""
    return pd.DataFrame(PUBLISHED)


def value(exhibit: str, method: str, statistic: str, dataset: str = "") -> float:
    """One published number, NaN where the source gives none.

    Raises AzlibError for an exhibit, statistic or data set that no source has. An unknown method
    is no error: most proxies were published in one exhibit only, ours in none.
    """
    for field, given in {"exhibit": exhibit, "statistic": statistic, "dataset": dataset}.items():
        known = sorted({getattr(p, field) for p in PUBLISHED})
        if given not in known:
            raise unknown(f"published {field}", given, known)
    key = (exhibit, method, statistic, dataset)
    return next(
        (p.value for p in PUBLISHED if (p.exhibit, p.method, p.statistic, p.dataset) == key),
        math.nan,
    )


def verdict(low: float, high: float, published: float, tolerance: float = 0.02) -> str:
    """Says "reproduced" if the published value lies within `tolerance` of our interval low..high.

    Else "differs"; "not runnable here" if we have no interval (NaN), "" if nothing is published.
    """
    if math.isnan(published):
        return ""
    if math.isnan(low) or math.isnan(high):
        return "not runnable here"
    return "reproduced" if low - tolerance <= published <= high + tolerance else "differs"


def _read(
    exhibit: str, architectures: str, statistics: str, source: str, text: str
) -> Iterator[Published]:
    """The numbers of one block: header "method | dataset | ...", cells "value±std/value/...".

    A column headed "-" belongs to no data set. Trailing statistics of a cell may be missing.
    """
    (_, *datasets), *rows = (
        [cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()
    )
    for method, *cells in rows:
        for dataset, cell in zip(datasets, cells, strict=True):
            for statistic, number in zip_longest(statistics.split("/"), cell.split("/")):
                if not number:
                    continue
                mean, _, std = number.partition("±")
                yield Published(
                    exhibit,
                    method,
                    dataset.strip("-"),
                    architectures,
                    statistic,
                    float(mean),
                    float(std or "nan"),
                    source,
                )


AZ_NAS = "Lee & Ham, AZ-NAS, CVPR 2024"
VKDNW = "Tybl & Neumann, VKDNW, CVPR 2025"

PUBLISHED: tuple[Published, ...] = (
    *_read(
        "Table 1",
        "all",
        "kendall_tau/spearman_rho",
        f"{AZ_NAS}, Table 1",
        """
        method   | cifar10     | cifar100   | imagenet16-120
        AZ-NAS   | .741/.913   | .723/.900  | .710/.886
        ZiCo     | .589        | .590       | .584
        GradSign | .618        | .594       | .575
        """,
    ),
    *_read(
        "Table 1",
        "all",
        "ms_per_arch",
        f"{AZ_NAS}, Table 1",
        """
        method   | -
        AZ-NAS   | 42.7
        GradSign | 1823.9
        TE-NAS   | 1311.8
        """,
    ),
    *_read(
        "Table 4",
        "all",
        "kendall_tau",
        f"{AZ_NAS}, Table 4, all four proxies",
        """
        method | cifar10 | cifar100 | imagenet16-120
        log    | .741    | .723     | .710
        linear | .697    | .681     | .663
        """,
    ),
    *_read(
        "Notebook of the authors",
        "all",
        "kendall_tau/spearman_rho/selected_accuracy",
        "output saved in the AZ-NAS repository's NB201/tss_general.ipynb, seed 1",
        """
        method   | cifar10
        AZ-NAS   | .74088/.91271/93.63
        """,
    ),
    *_read(
        "Harness of the authors",
        "all",
        "kendall_tau/spearman_rho",
        "AZ-NAS harness, one proxy a run, seed 1: notebooks in the AZ-NAS and VKDNW repositories",
        """
        method   | cifar10
        GradNorm | .356/.484
        SNIP     | .454/.615
        GraSP    | .315/.454
        SynFlow  | .571/.769
        NASWOT   | .556/.742
        Zen      | .296/.385
        ZiCo     | .589/.784
        GradSign | -.129/-.153
        AZ-NAS   | .741/.913
        """,
    ),
    *_read(
        "Users",
        "all",
        "spearman_rho",
        "users of the AZ-NAS repository, its issues 8, 10 and 11",
        """
        method | cifar10 | cifar100 | imagenet16-120
        AZ-NAS | .75     | .73      | .68
        """,
    ),
    *_read(
        "VKDNW all",
        "all",
        "kendall_tau/spearman_rho/ndcg",
        f"{VKDNW}, re-runs kept in its repository's notebooks, mean of 5 seeds, one network shared "
        "by all proxies; its own two with the last 128 tensors",
        """
        method           | cifar10           | cifar100          | imagenet16-120
        Trainable layers | .580/.723/.631    | .594/.737/.491    | .574/.716/.483
        FLOPs            | .578/.753/.729    | .551/.727/.565    | .517/.691/.386
        #Params          | .578/.753/.729    | .551/.727/.565    | .517/.691/.386
        GradNorm         | .356/.483/.407    | .359/.489/.202    | .322/.441/.192
        GraSP            | .315/.454/.439    | .322/.461/.224    | .333/.470/.207
        SNIP             | .454/.615/.433    | .462/.620/.221    | .403/.539/.212
        SynFlow          | .571/.769/.691    | .565/.761/.584    | .555/.747/.504
        NASWOT           | .556/.742/.572    | .579/.768/.449    | .583/.768/.459
        Jacov            | .545/.712/.362    | .554/.720/.249    | .537/.701/.240
        Zen              | .244/.321/.110    | .232/.300/.110    | .250/.344/.065
        GradSign         | -.097/-.122/.033  | -.240/-.315/.001  | -.204/-.265/.000
        ZiCo             | .590/.785/.732    | .600/.794/.597    | .594/.787/.516
        TE-NAS           | .489/.676/.481    | .481/.664/.214    | .459/.641/.143
        AZ-NAS           | .739/.912/.702    | .722/.899/.473    | .694/.876/.482
        VKDNW single     | .604/.798/.715    | .607/.802/.558    | .602/.793/.566
        VKDNW agg        | .740/.911/.743    | .735/.905/.576    | .722/.893/.614
        """,
    ),
    *_read(
        "VKDNW all, first 128 tensors",
        "all",
        "kendall_tau/spearman_rho/ndcg",
        f"{VKDNW}, notebooks of its repository, newer runs",
        """
        method       | imagenet16-120
        VKDNW single | .605/.795/.583
        VKDNW agg    | .723/.893/.612
        """,
    ),
    *_read(
        "VKDNW seeds",
        "all",
        "kendall_tau_std",
        f"{VKDNW}, notebooks of its repository: std over seeds; those of NASWOT, SynFlow and Zen "
        "are at most .0002, those of SNIP, GradNorm, ZiCo and VKDNW at most .0006",
        """
        method   | imagenet16-120
        NASWOT   | .0002
        SynFlow  | .0002
        Zen      | .0002
        SNIP     | .0006
        GradNorm | .0006
        ZiCo     | .0006
        VKDNW    | .0006
        Jacov    | .001
        GradSign | .001
        TE-NAS   | .0016
        GraSP    | .0034
        """,
    ),
    *_read(
        "VKDNW Table 1",
        "no-dead-edges",
        "kendall_tau/spearman_rho/ndcg",
        f"{VKDNW}, Table 1, mean of 5 seeds; its own two with the first 128 tensors",
        """
        method           | cifar10        | cifar100       | imagenet16-120
        FLOPs            | .623/.799/.745 | .586/.763/.576 | .545/.718/.403
        GradNorm         | .328/.438/.509 | .341/.451/.278 | .310/.418/.265
        GraSP            | .352/.505/.518 | .349/.498/.284 | .359/.502/.281
        SNIP             | .431/.591/.513 | .440/.597/.286 | .389/.521/.286
        SynFlow          | .561/.758/.709 | .553/.750/.594 | .531/.719/.511
        Jacov            | .616/.800/.540 | .639/.820/.402 | .602/.779/.356
        NASWOT           | .571/.762/.607 | .607/.799/.475 | .605/.794/.490
        Zen              | .102/.103/.120 | .079/.072/.115 | .091/.109/.073
        ZiCo             | .607/.802/.751 | .614/.809/.607 | .587/.779/.523
        TE-NAS           | .536/.722/.602 | .537/.723/.327 | .523/.709/.330
        AZ-NAS           | .712/.892/.749 | .696/.880/.549 | .673/.859/.534
        Trainable layers | .626/.767/.671 | .646/.787/.525 | .623/.764/.497
        VKDNW single     | .618/.815/.751 | .634/.829/.617 | .622/.814/.608
        VKDNW agg        | .750/.919/.785 | .753/.919/.636 | .743/.906/.664
        """,
    ),
    *_read(
        "VKDNW Table 1, trained",
        "no-dead-edges",
        "kendall_tau",
        f"{VKDNW}, rankings trained on accuracies",
        """
        method         | cifar10 | cifar100 | imagenet16-120
        GRAF           | .820    | .809     | .796
        VKDNW+ZCS+GRAF | .859    | .847     | .842
        """,
    ),
    *_read(
        "VKDNW ablation",
        "no-dead-edges",
        "ndcg",
        f"{VKDNW}, ablation of the aggregate",
        """
        method                         | cifar10 | cifar100 | imagenet16-120
        VKDNW agg                      | .785    | .636     | .664
        VKDNW agg without expressivity | .796    | .665     | .695
        """,
    ),
    *_read(
        "GradSign paper",
        "",
        "spearman_rho",
        f"GradSign's own paper, as quoted in {VKDNW}, Table 1",
        """
        method   | cifar10 | cifar100 | imagenet16-120
        GradSign | .765    | .793     | .783
        """,
    ),
    *_read(
        "zero-cost-nas",
        "all",
        "absolute_spearman_rho",
        "SamsungLabs/zero-cost-nas, notebook on NAS-Bench-201: |ρ|, seed 42, batch 64, PyTorch's "
        "initialisation, one super-net, NaN dropped",
        """
        method   | cifar10 | cifar100 | imagenet16-120
        GradNorm | .594    | .637     | .578
        SNIP     | .596    | .637     | .578
        GraSP    | .514    | .547     | .549
        Fisher   | .36     | .385     | .327
        SynFlow  | .737    | .763     | .751
        Jacov    | .731    | .704     | .701
        """,
    ),
    *_read(
        "Table 2",
        "",
        "top1/flops",
        f"{AZ_NAS}, Table 2, and {VKDNW}, Table 2",
        """
        method    | 450M           | 600M     | 1000M
        AZ-NAS    | 78.6±0.2/462e6 | 79.9±0.3 | 81.1±0.1
        ZiCo      | 78.1/448e6     | 79.4     | 80.4
        #Params   | 63.5/451e6     |          |
        VKDNW agg | 78.8/480e6     |          |
        NASNet-B  | 72.8/488e6     |          |
        CARS-D    | 73.3/496e6     |          |
        BN-NAS    | 75.7/470e6     |          |
        OFA       | 77.7/406e6     |          |
        RLNAS     | 75.6/473e6     |          |
        DONNA     | 78.0/501e6     |          |
        """,
    ),
    *_read(
        "Table 2",
        "",
        "gpu_days_min/gpu_days_max",
        f"{AZ_NAS}, Table 2, and {VKDNW}, Table 2",
        """
        method    | -
        AZ-NAS    | 0.4/0.7
        ZiCo      | 0.4/0.4
        #Params   | 0.02/0.02
        VKDNW agg | 0.4/0.4
        NASNet-B  | 1800/1800
        CARS-D    | 0.4/0.4
        BN-NAS    | 0.8/0.8
        OFA       | 50/50
        DONNA     | 405/405
        """,
    ),
    *_read(
        "Table 3",
        "",
        "top1",
        f"{AZ_NAS}, Table 3",
        """
        method     | tiny | small | base
        AZ-NAS     | 76.1 | 82.0  | 82.1
        AutoFormer | 74.7 | 81.7  | 82.4
        TF-TAS     | 75.3 | 81.9  | 82.2
        """,
    ),
    *_read(
        "Table 3",
        "",
        "gpu_days_min/gpu_days_max",
        f"{AZ_NAS}, Table 3",
        """
        method     | -
        AZ-NAS     | 0.03/0.17
        AutoFormer | 24/24
        TF-TAS     | 0.5/0.5
        """,
    ),
    *_read(
        "AutoFormer structures",
        "",
        "params/complexity",
        "structures published in the AZ-NAS repository, counted with its own counters",
        """
        method                | tiny               | small               | base
        AZ-NAS                | 5921032/1380128376 | 22951144/4943341788 | 53710768/11386130712
        AZ-NAS, TF-TAS budget | 6164008/1432573626 | 23788072/5128885212 | 54133504/11464741464
        """,
    ),
    *_read(
        "Clean re-implementation",
        "",
        "kendall_tau",
        "a re-implementation made before azlib: 1,000 random architectures, seed 1, Gaussian noise",
        """
        method                  | cifar10 | cifar100 | imagenet16-120
        log, batch 64, 32 px    | .730    | .722     | .709
        linear, batch 64, 32 px | .692    | .682     | .667
        log, batch 16, 32 px    | .727    | .716     | .699
        log, batch 64, 16 px    | .719    | .709     | .693
        log, batch 8, 16 px     | .676    | .650     | .610
        """,
    ),
)
