"""Helox trains a LoRA or QLoRA adapter: files in, files out.

It knows no database, no queue and no web server. A run is a spec and a JSONL file:

    $ cat spec.json
    {"base_model": "base_model/cyrex-small", "data": "train.jsonl",
     "work_dir": "work", "output_dir": "adapter", "seed": 7,
     "config": {"num_epochs": 8}}
    $ python -m helox check spec.json     # every bad line, token counts, an estimate; no torch
    $ python -m helox train spec.json     # → adapter/ (PEFT format) and adapter/receipt.json

`work/progress.json` says how far it is, `work/events.jsonl` what happened, `work/error.json` why it
failed. Exit codes: 0 done, 2 the user can mend it, 1 the system's fault, 75 stopped by SIGTERM with
a checkpoint: run the same command again. After a kill -9 too, and the adapter's bytes are the same.

From Python, without torch:

    from helox.check import check_lines           # problems by line and field
    from helox.render import ChatTemplate, prompt_of_job, to_messages
    from helox.spec import TrainingConfig         # ranges and defaults
"""

__version__ = "0.3.0"
