"""REPRODUCTION.md: every number and every testable claim of the paper beside ours."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

from azlib.companion import paper
from azlib.companion.ledger import claims, numbers
from azlib.companion.ledger.evidence import Evidence
from azlib.companion.ledger.rows import DIFFERS, VERDICTS, Row
from azlib.files import replacing

HEAD = """# Does it reproduce?

Every number that the paper or a re-run of it published, and every claim of the paper that can be
tested here, beside ours. `make report` writes this page from the exhibits in `figures/`; nothing
on it is typed by hand. Accuracies are those of NAS-Bench-201; intervals are 95 % over
architectures unless a row says otherwise.

- **reproduced**: the claim holds; or the published number lies within {near} of our interval,
  within {rerun} where it is not from the paper but from a re-run by others, within half a point for
  an accuracy, and within 5 % for FLOPs of a network that was searched anew.
- **differs**: it does not. The remark says by how much. A reason stands there only if an exhibit
  bears it out; else it says that the reason is not measured.
- **not runnable here**: it takes hardware or data that this repository does without; the remark
  says how many hours.
- **not measured here**: no exhibit has its counterpart.
- **contents not known here**: we know that the exhibit exists, and not what it shows.
"""


def rows(evidence: Evidence) -> list[Row]:
    """All rows, the claims and numbers of one section together, in the order of the paper.

    Raises AzlibError if an exhibit is missing.
    """
    found = [*claims.rows(evidence), *numbers.rows(evidence)]
    place = {name: at for at, name in enumerate(dict.fromkeys(row.section for row in found))}
    return sorted(found, key=lambda row: place[row.section])


def page(found: list[Row], evidence: Evidence) -> str:
    """The rows as Markdown: counts first, then what differs, then everything."""
    by_section: dict[str, list[Row]] = {}
    for row in found:
        by_section.setdefault(row.section, []).append(row)
    head = HEAD.format(near=numbers.NEAR, rerun=numbers.RERUN)
    parts = [head, "## In short\n", _markdown(_summary(by_section)), "## What differs\n"]
    differing = [row for row in found if row.verdict == DIFFERS]
    parts.append(_markdown(_lines(differing, evidence, with_section=True)))
    sources = paper.frame().groupby("exhibit", sort=False)["source"].first()
    for name, part in by_section.items():
        parts.append(f"## {name}\n")
        if name in sources:
            parts.append(f"Published numbers: {sources[name]}.\n")
        parts.append(_markdown(_lines(part, evidence)))
    return "\n".join(parts).rstrip() + "\n"


def write(evidence: Evidence, path: Path = Path("REPRODUCTION.md")) -> list[Row]:
    """Writes the page, if it has changed, and returns its rows.

    Raises AzlibError if an exhibit is missing; the page that was there stays.
    """
    found = rows(evidence)
    text = page(found, evidence)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return found


def counted(found: list[Row]) -> str:
    """How many rows have each verdict, as text."""
    counts = Counter(row.verdict for row in found)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)


def _summary(by_section: dict[str, list[Row]]) -> list[dict[str, str]]:
    """How many rows of each section have each verdict."""
    lines = []
    for name, part in [*by_section.items(), ("**all**", list(chain(*by_section.values())))]:
        counts = Counter(row.verdict for row in part)
        lines.append({"section": name} | {v: str(counts[v] or "") for v in VERDICTS})
    return lines


def _lines(
    found: list[Row], evidence: Evidence, with_section: bool = False
) -> list[dict[str, str]]:
    """The rows as a reader sees them; the name of an exhibit links to its numbers."""
    lines = []
    for row in found:
        line = {"section": row.section} if with_section else {}
        line |= {"what": row.what, "published": row.published, "ours": row.ours}
        line |= {"verdict": row.verdict, "remark": row.remark}
        where = evidence.path(row.exhibit).relative_to(evidence.figures.parent)
        link = f"[{row.exhibit}]({where.as_posix()})" if row.exhibit else ""
        lines.append(line | {"exhibit": link})
    return lines


def _markdown(lines: list[dict[str, str]]) -> str:
    """A table without padding, which would make five hundred rows three times as long."""
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
