"""Several processes on one store, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from modelkit import package
from modelkit.blobs.directory import DirectoryBlobs
from modelkit.cache import AdapterCache
from modelkit.registry import LocalRegistry

CACHE_CHILD = """
import shutil, sys, time
from pathlib import Path
from modelkit.cache import AdapterCache
root, source, sha256, log = sys.argv[1:]
def download(destination):
    with open(log, "a") as stream:
        stream.write("downloading\\n")
    print("downloading", flush=True)
    for path in sorted(Path(source).iterdir()):
        shutil.copy(path, destination)
        time.sleep(0.2)
AdapterCache(root).fetch(sha256, download)
print("done", flush=True)
"""

REGISTRY_CHILD = """
import sys
from modelkit.registry import LocalRegistry
root, source, version = sys.argv[1:]
print(LocalRegistry(root).register_model("acme", int(version), source, {}).sha256)
"""

BLOB_CHILD = """
import sys
from modelkit.blobs.directory import DirectoryBlobs
print(DirectoryBlobs(sys.argv[1]).put_bytes(b"x" * 1_000_000))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    header = {
        f"base_model.model.q_proj.lora_{side}.weight": {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": offsets,
        }
        for side, shape, offsets in (("A", [1, 4], [0, 16]), ("B", [4, 1], [16, 32]))
    }
    text = json.dumps(header).encode()
    weights = struct.pack("<Q", len(text)) + text + b"\0" * 32
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_processes_share_one_download(source: Path, tmp_path: Path) -> None:
    sha256 = package.build(source).sha256
    log = tmp_path / "log"
    children = [start(CACHE_CHILD, tmp_path / "cache", source, sha256, log) for _ in range(4)]
    outputs = [child.communicate(timeout=60)[0] for child in children]
    assert all(output.endswith("done\n") for output in outputs)
    assert log.read_text().count("downloading") == 1


def test_a_killed_download_is_done_again(source: Path, tmp_path: Path) -> None:
    sha256 = package.build(source).sha256
    arguments = (tmp_path / "cache", source, sha256, tmp_path / "log")
    with start(CACHE_CHILD, *arguments) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "downloading\n"
        child.send_signal(signal.SIGKILL)
    assert not (tmp_path / "cache" / sha256).exists()
    with start(CACHE_CHILD, *arguments) as child:
        assert child.communicate(timeout=60)[0] == "downloading\ndone\n"
    assert AdapterCache(tmp_path / "cache").manifest(sha256).sha256 == sha256
    assert list((tmp_path / "cache" / ".incoming").iterdir()) == []


def test_processes_register_one_version_once(source: Path, tmp_path: Path) -> None:
    children = [start(REGISTRY_CHILD, tmp_path / "registry", source, 1) for _ in range(4)]
    outputs = {child.communicate(timeout=60)[0] for child in children}
    assert outputs == {package.build(source).sha256 + "\n"}
    registry = LocalRegistry(tmp_path / "registry")
    assert [model.version for model in registry.list_models()] == [1]
    names = sorted(path.name for path in (registry.models / "acme").iterdir())
    assert names == [".lock", "1"]


def test_processes_put_one_blob(tmp_path: Path) -> None:
    children = [start(BLOB_CHILD, tmp_path) for _ in range(4)]
    outputs = {child.communicate(timeout=60)[0].strip() for child in children}
    assert len(outputs) == 1
    assert DirectoryBlobs(tmp_path).read(outputs.pop()) == b"x" * 1_000_000


def test_no_model_library_is_imported() -> None:
    script = (
        "import sys, modelkit.blobs, modelkit.cache, modelkit.registry;"
        "print({'torch', 'transformers', 'peft', 'safetensors', 'numpy', 'boto3', 'botocore'}"
        " & set(sys.modules))"
    )
    with start(script) as child:
        assert child.communicate(timeout=60)[0] == "set()\n"
