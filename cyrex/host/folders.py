"""The folders that the settings name: a process that cannot use one says so at its start."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from settings import Settings, SettingsError, settings_or_exit


def check_folders(settings: Settings) -> None:
    """Raise `SettingsError` with one line that names every unusable folder. Creates none."""
    used = {"WORK_DIR": settings.work_dir, "ADAPTER_CACHE_DIR": settings.adapter_cache_dir}
    if settings.blob_store_type == "local":
        used["BLOB_DIR"] = settings.blob_dir
    in_bucket = settings.model_registry_type == "mlflow" and settings.s3_bucket
    if settings.model_registry_type != "s3" and not in_bucket:
        used["MODEL_REGISTRY_PATH"] = settings.model_registry_path
    found = [f"{name}: {why}" for name, path in used.items() if (why := _unusable(path))]
    if found:
        raise SettingsError("; ".join(found))


def _unusable(folder: Path) -> str:
    """Why the folder, or its nearest existing parent, is not writable; empty: it is."""
    there = folder.resolve()
    try:
        while not there.exists():
            there = there.parent
        # An unnamed file: it leaves nothing behind, even after a kill.
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError as error:
        return f"{folder}: cannot write to {there}: {error.strerror}"


def main() -> None:
    """Check all settings, folders included: one line and status 2 where one cannot be used."""
    try:
        check_folders(settings_or_exit())
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
