"""The blob store and the work folder as the audit finds them on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.rows import Rows

NAMES = """
    SELECT sha256, 'dataset ' || dataset_id FROM datasets
    UNION SELECT merged_sha256, 'dataset ' || dataset_id FROM datasets
      WHERE merged_sha256 IS NOT NULL
    UNION SELECT validation_sha256, 'dataset ' || dataset_id FROM datasets
      WHERE validation_sha256 IS NOT NULL
    UNION SELECT package_sha256, 'training ' || request_id FROM training_runs
      WHERE package_sha256 IS NOT NULL
    UNION SELECT sha256, 'checkpoint ' || checkpoint_id FROM training_checkpoints
"""
SHA256 = re.compile(r"[0-9a-f]{64}")
MANIFEST_BYTES = 1_000_000


def path(blobs: Path, sha256: str) -> Path:
    return blobs / sha256[:2] / sha256


def stored(blobs: Path) -> set[str]:
    return {found.name for found in blobs.glob("??/*") if SHA256.fullmatch(found.name)}


def named(rows: Rows, blobs: Path) -> dict[str, str]:
    """The blobs that rows name, themselves or by a manifest that lists them; and by whom."""
    found: dict[str, str] = {}
    for sha256, by in rows.all(NAMES):
        found[sha256] = by
        for listed in _listed(path(blobs, sha256)):
            found[listed] = f"{by}'s manifest"
    return found


def _listed(manifest: Path) -> Iterator[str]:
    """The SHA-256s in a blob that is a manifest: a JSON object that lists `files`."""
    if not manifest.is_file() or manifest.stat().st_size > MANIFEST_BYTES:
        return
    try:
        content = json.loads(manifest.read_bytes())
    except ValueError:
        return
    entries = content.get("files", []) if isinstance(content, dict) else []
    for entry in entries:
        yield entry["sha256"]


def left_over(blobs: Path, work: Path) -> list[Path]:
    """Unfinished blobs, and folders of work that has ended."""
    unfinished = list((blobs / ".incoming").glob("*"))
    folders = [found for found in work.glob("*") if found.is_dir()] if work.exists() else []
    return sorted(unfinished + folders)
