"""TRL's SFTTrainer or Hugging Face's Trainer as a process; the last line is JSON.

PYTHON rival_arm.py FOLDER BASE THREADS trl|hf ORDER SETTINGS

ORDER: sequential takes the examples as they lie, group_by_length as Trainer groups them. SETTINGS
is JSON for TrainingArguments. TRL has an environment of its own, without the product.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

EXAMPLES_FILE, FIRST_ADAPTER = "examples.json", "first"


class Clock:
    """Times the training loop alone: from its begin to its end."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Timed(TrainerCallback):
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                clock.seconds = -time.monotonic()
                clock.cpu_seconds = -time.process_time()

            def on_train_end(self, *_: Any, **__: Any) -> None:
                clock.seconds += time.monotonic()
                clock.cpu_seconds += time.process_time()

        return Timed()


def pad(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """To the longest of the batch, on the right."""
    import torch

    width = max(len(e["input_ids"]) for e in examples)

    def rows(name: str, filler: int) -> torch.Tensor:
        return torch.tensor([e[name] + [filler] * (width - len(e[name])) for e in examples])

    mask = [[1] * len(e["input_ids"]) + [0] * (width - len(e["input_ids"])) for e in examples]
    return {
        "input_ids": rows("input_ids", 0),
        "labels": rows("labels", -100),
        "attention_mask": torch.tensor(mask),
    }


def main() -> None:
    folder, base, threads, kind, order, settings = sys.argv[1:]
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    torch.set_num_threads(int(threads))
    rows = json.loads((Path(folder) / EXAMPLES_FILE).read_text())
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(Path(folder) / FIRST_ADAPTER), is_trainable=True)
    losses: list[float] = []
    clock = Clock()
    common: dict[str, Any] = {
        "output_dir": str(Path(folder) / kind),
        "num_train_epochs": 1,
        "train_sampling_strategy": order,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "logging_strategy": "no",
        "disable_tqdm": True,
        **json.loads(settings),
    }
    if kind == "trl":
        from datasets import Dataset
        from transformers import AutoTokenizer
        from trl import SFTConfig, SFTTrainer

        class Recorded(SFTTrainer):
            def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
                found = super().compute_loss(*args, **kwargs)
                losses.append((found[0] if isinstance(found, tuple) else found).item())
                return found

        trainer = Recorded(
            model=model,
            args=SFTConfig(bf16=False, max_length=None, **common),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(base),
            callbacks=[clock.callback()],
        )
    else:

        class Plain(Trainer):
            def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
                found = super().compute_loss(*args, **kwargs)
                losses.append((found[0] if isinstance(found, tuple) else found).item())
                return found

        trainer = Plain(
            model=model,
            args=TrainingArguments(**common),
            train_dataset=rows,
            data_collator=pad,
            callbacks=[clock.callback()],
        )
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds, "losses": losses}
    print(json.dumps({**found, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
