from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers", "jinja2")
LIGHT_MODULES = ("helox", "helox.spec", "helox.render", "helox.check", "helox.holdout", "helox.cli")


def test_what_the_web_process_imports_is_light() -> None:
    code = (
        f"import sys, {', '.join(LIGHT_MODULES)}\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_helox_needs_nothing_else_of_the_product() -> None:
    code = (
        "import sys, helox.cli, helox.train\n"
        "others = {'settings', 'database', 'synapse', 'modelkit', 'cyrex', 'tasks', 'web'}\n"
        "assert not others & set(sys.modules), others & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
