from __future__ import annotations

from pathlib import Path

import pytest

from cyrex.host.folders import check_folders
from settings import Settings, SettingsError


def folders(place: Path) -> dict[str, Path]:
    names = ("work_dir", "adapter_cache_dir", "blob_dir", "model_registry_path")
    return {name: place / name / "below" for name in names}


def test_folders_that_are_yet_to_be_made_will_do(tmp_path: Path) -> None:
    check_folders(Settings(**folders(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["work_dir", "adapter_cache_dir", "blob_dir", "model_registry_path"]
)
def test_a_folder_that_takes_no_file_is_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a-file"
    file.touch()
    settings = Settings(**{**folders(tmp_path), name: file / "below"})
    with pytest.raises(SettingsError) as error:
        check_folders(settings)
    assert str(error.value) == (
        f"{name.upper()}: {file}/below: cannot write to {file}: Not a directory"
    )


def test_what_is_in_a_bucket_needs_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.touch()
    places = {**folders(tmp_path), "blob_dir": file, "model_registry_path": file}
    check_folders(
        Settings(**places, blob_store_type="s3", model_registry_type="s3", s3_bucket="bucket")
    )
    mlflow = {"model_registry_type": "mlflow", "mlflow_tracking_uri": "http://mlflow:5000"}
    check_folders(Settings(**places, blob_store_type="s3", s3_bucket="bucket", **mlflow))
    with pytest.raises(SettingsError, match="MODEL_REGISTRY_PATH"):
        check_folders(Settings(**places, blob_store_type="s3", s3_bucket="bucket"))
