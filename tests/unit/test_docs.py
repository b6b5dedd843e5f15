"""The documents name paths that exist, and their links resolve."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from settings import REPOSITORY

DOCUMENTS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
NAMES = [str(document.relative_to(REPOSITORY)) for document in DOCUMENTS]
# Folders from which a document names paths, beside the repository's root.
BASES = {
    "engine.md": ("cyrex/engine", "tests/integration/cyrex/engine"),
    "guide-coverage.md": ("tests",),
}
# Made when the product is installed or runs.
GENERATED = (".data", ".venv", ".mlflow")
MAX_README_LINES = 120
CODE_BLOCK = re.compile(r"^```.*?^```", flags=re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
# A path, perhaps with `<domain>` or `*` in it, perhaps with `::test` behind it.
PATH = re.compile(r"((?:[\w.*<>-]+/)*[\w.*<>-]+/?)(?:::[\w\[\]]+)?")
SOURCE = (".py", ".md", ".cfg", "/")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", flags=re.MULTILINE)


def paths_in(document: Path) -> set[str]:
    """Every path that the document gives in backticks."""
    found = set()
    for code in CODE.findall(CODE_BLOCK.sub("", document.read_text(encoding="utf-8"))):
        match = PATH.fullmatch(code)
        if match is None:
            continue
        path = match[1]
        first, slash, _ = path.partition("/")
        if first in GENERATED or path in SOURCE:
            continue
        if path.endswith(SOURCE) or (slash and (REPOSITORY / first).is_dir()):
            found.add(path)
    return found


def exists(document: Path, path: str) -> bool:
    """Whether it exists; a name without a folder may be short for a path of the same document."""
    if "/" not in path and any(other.endswith(f"/{path}") for other in paths_in(document)):
        return True
    pattern = re.sub(r"<\w+>", "*", path).rstrip("/")
    bases = [REPOSITORY, *(REPOSITORY / base for base in BASES.get(document.name, ()))]
    return any(any(base.glob(pattern)) for base in bases)


def anchors(document: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = HEADING.findall(CODE_BLOCK.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> list[str]:
    found = []
    for link in LINK.findall(CODE_BLOCK.sub("", document.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_path_that_is_named_exists(document: Path) -> None:
    missing = sorted(path for path in paths_in(document) if not exists(document, path))
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_link_resolves(document: Path) -> None:
    assert not broken_links(document)


def test_a_wrong_path_and_a_broken_link_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One thing\n`cyrex/engine/nowhere.py`, `cyrex/engine/loop.py`, `web/api/<domain>.py`,"
        " `nowhere/`, `web/nowhere/<domain>.py`, `.data/up`, `POST /process`, `a/b`\n"
        "[here](#one-thing) [there](#another) [gone](gone.md) [out](https://example.com)\n"
        "```\n`cyrex/inside/a/block.py` [gone](too.md)\n```\n"
    )
    missing = {path for path in paths_in(page) if not exists(page, path)}
    assert missing == {"cyrex/engine/nowhere.py", "nowhere/", "web/nowhere/<domain>.py"}
    assert broken_links(page) == ["#another", "gone.md"]


def test_enough_paths_are_named() -> None:
    assert sum(len(paths_in(document)) for document in DOCUMENTS) > 100


def test_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= MAX_README_LINES
