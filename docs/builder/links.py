"""Links to files of the repository that are no pages of the site."""

from __future__ import annotations

import os.path
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from docs.conf import REPOSITORY

_LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)")


def rewritten(text: str, page: PurePosixPath, known: Collection[PurePosixPath], root: Path) -> str:
    """A page whose links to other files of the repository lead to where it is published.

    While `REPOSITORY` names no address, such a link becomes its text. A link to a page of the site
    stays, and so does one that leads nowhere, about which Sphinx will complain.

    Args:
        text: of the page, in Markdown.
        page: its path in the repository.
        known: the paths of the files that the site has.
        root: of the repository.
    """

    def replacement(link: re.Match[str]) -> str:
        words, target, anchor = link.groups(default="")
        path = PurePosixPath(os.path.normpath(page.parent / target))
        if str(path) == "README.md":
            to_index = os.path.relpath("index.md", page.parent)
            return f"[{words}]({to_index}{anchor})"
        if "://" in target or path in known or not (root / path).exists():
            return link[0]
        return f"[{words}]({REPOSITORY}/blob/main/{path}{anchor})" if REPOSITORY else words

    return _LINK.sub(replacement, text)
