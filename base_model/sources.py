"""English text for pretraining, taken from freely licensed Debian packages.

Packages are fetched by name with `apt-get download`, unpacked without installing, and split into
paragraphs of plain text. None of it is committed; the model card lists the licences.
"""

from __future__ import annotations

import gzip
import html
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIN_PARAGRAPH_CHARS = 40
MAX_PARAGRAPH_CHARS = 1600

_DROP = re.compile(r"<(script|style|pre|head|nav|table)\b.*?</\1>", re.S | re.I)
_BLOCK = re.compile(
    r"</?(p|div|li|ul|ol|dl|dt|dd|h[1-6]|section|br|tr|td|title|note|item)\b[^>]*>", re.I
)
_TAG = re.compile(r"<[^>]+>")
_SPACE = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Source:
    """One Debian package and how its text is read once unpacked at `root`."""

    package: str
    licence: str
    read: Callable[[Path], Iterator[str]]


def _paragraphs(text: str) -> Iterator[str]:
    """Splits text at blank lines into one-line paragraphs; keeps those that look like prose."""
    for block in _BLANK_LINES.split(text):
        paragraph = _SPACE.sub(" ", block).strip()
        if len(paragraph) < MIN_PARAGRAPH_CHARS:
            continue
        letters = sum(c.isalpha() or c == " " for c in paragraph)
        if letters / len(paragraph) > 0.85:
            yield paragraph[:MAX_PARAGRAPH_CHARS]


def _markup(*patterns: str) -> Callable[[Path], Iterator[str]]:
    """Reads HTML, DocBook or Mallard pages that match the glob patterns."""

    def read(root: Path) -> Iterator[str]:
        for pattern in patterns:
            for path in sorted(root.glob(pattern)):
                text = path.read_text("utf-8", errors="ignore")
                text = _DROP.sub("\n\n", text)
                # Line breaks have no meaning in markup; only block tags separate paragraphs.
                text = _BLOCK.sub("\n\n", _SPACE.sub(" ", text))
                yield from _paragraphs(html.unescape(_TAG.sub("", text)))

    return read


def _plain(*patterns: str, split: str | None = None) -> Callable[[Path], Iterator[str]]:
    """Reads plain text (gzip too); `split` separates entries instead of blank lines."""

    def read(root: Path) -> Iterator[str]:
        for pattern in patterns:
            for path in sorted(root.glob(pattern)):
                data = path.read_bytes()
                if path.suffix in (".gz", ".dz"):
                    data = gzip.decompress(data)
                text = data.decode("utf-8", errors="ignore")
                if split is not None:
                    text = "\n\n".join(_SPACE.sub(" ", part) for part in text.split(split))
                yield from _paragraphs(text)

    return read


def _fortunes(root: Path) -> Iterator[str]:
    for path in sorted((root / "usr/share/games/fortunes").glob("*.u8")):
        if path.stem in ("ascii-art", "ethnic", "men-women", "drugs"):
            continue
        text = path.read_text("utf-8", errors="ignore")
        yield from _paragraphs("\n\n".join(_SPACE.sub(" ", p) for p in text.split("\n%\n")))


_GCIDE_MARK = re.compile(r"\[[^\]]*\]|\\[^\\\n]*\\|[{}]|\(.*?\)|^\s*\d+\.\s", re.M)


def _gcide(root: Path) -> Iterator[str]:
    """Webster 1913: only the running text of definitions and quotations."""
    for path in sorted(root.glob("usr/share/dictd/gcide.dict.dz")):
        text = gzip.decompress(path.read_bytes()).decode("utf-8", errors="ignore")
        yield from _paragraphs(_GCIDE_MARK.sub("", text))


SOURCES: tuple[Source, ...] = (
    Source(
        "debian-handbook",
        "GPL-2+ or CC-BY-SA-3.0",
        _markup("usr/share/doc/debian-handbook/html/en-US/*.html"),
    ),
    Source("debian-faq", "Debian FAQ (permissive)", _markup("usr/share/doc/debian/FAQ/*.en.html")),
    Source("debian-reference-en", "GPL-2+", _markup("usr/share/debian-reference/*.en.html")),
    Source("developers-reference", "GPL-2", _plain("usr/share/developers-reference/*.txt.gz")),
    Source(
        "python3.11-doc",
        "PSF",
        _markup(
            "usr/share/doc/python3.11/html/[fhit]*/*.html",
            "usr/share/doc/python3.11/html/library/*.html",
        ),
    ),
    Source(
        "postgresql-doc-15", "PostgreSQL", _markup("usr/share/doc/postgresql-doc-15/html/*.html")
    ),
    Source("git-doc", "GPL-2", _markup("usr/share/doc/git-doc/*.html")),
    Source(
        "gnome-user-docs",
        "CC-BY-SA-3.0",
        _markup("usr/share/help/C/gnome-help/*.page", "usr/share/help/C/system-admin-guide/*.page"),
    ),
    Source(
        "gnucash-docs",
        "GFDL-NIV-1.1+",
        _markup("usr/share/help/C/gnucash-guide/*.xml", "usr/share/help/C/gnucash-help/*.xml"),
    ),
    Source(
        "homebank-data",
        "GPL-2+",
        _markup("usr/share/doc/homebank-data/help/*.html", "usr/share/homebank/help/*.html"),
    ),
    Source(
        "libreoffice-help-en-us",
        "MPL-2.0",
        _markup("usr/share/libreoffice/help/en-US/text/**/*.html"),
    ),
    Source("fortunes", "BSD-3-Clause (collection)", _fortunes),
    Source("dict-gcide", "GPL-3+", _gcide),
    Source("dict-foldoc", "GFDL-1.2+", _plain("usr/share/dictd/foldoc.dict.dz")),
    Source("dict-jargon", "public domain", _plain("usr/share/dictd/jargon.dict.dz")),
    Source("dict-devil", "public domain", _plain("usr/share/dictd/devil.dict.dz")),
    Source("wordnet-base", "WordNet-3.0", lambda root: iter(())),
)

MAX_SOURCE_CHARS = 4_000_000


def download(cache: Path) -> Path:
    """Fetches and unpacks every package under `cache`; returns the root of the unpacked tree.

    Raises subprocess.CalledProcessError when apt cannot fetch one of them.
    """
    debs, root = cache / "debs", cache / "root"
    debs.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        if not list(debs.glob(f"{source.package}_*.deb")):
            subprocess.run(["apt-get", "download", source.package], cwd=debs, check=True)
            (deb,) = debs.glob(f"{source.package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True)
    return root


def collect(cache: Path) -> dict[str, list[str]]:
    """Paragraphs by package, without repeats; kept as one text file a package in `cache`/corpus."""
    corpus = cache / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    out: dict[str, list[str]] = {}
    seen: set[str] = set()
    root: Path | None = None
    for source in SOURCES:
        path = corpus / f"{source.package}.txt"
        if not path.exists():
            root = root or download(cache)
            kept, size = [], 0
            for paragraph in source.read(root):
                if paragraph in seen:
                    continue
                seen.add(paragraph)
                kept.append(paragraph)
                size += len(paragraph)
                if size > MAX_SOURCE_CHARS:
                    break
            path.write_text("\n".join(kept), "utf-8")
        out[source.package] = [p for p in path.read_text("utf-8").split("\n") if p]
    return out
