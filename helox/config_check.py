"""A training's settings, checked before anything is kept: names, types, ranges, and the base model.

The API and the command line check with this one function, so a setting means the same in both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from helox.base_facts import BaseFacts
from helox.errors import Problem, UserError
from helox.spec import TrainingConfig, TrainingSpec, parse_spec, problems_of

# Names that mean a setting of ours exactly, and are taken.
OTHER_NAMES = {"rank": "lora_rank", "alpha": "lora_alpha", "dropout": "lora_dropout"}
# Names that other trainers give to something near, which are not taken: their units may differ.
NEAR_NAMES = {
    "r": "lora_rank",
    "lora_r": "lora_rank",
    "lora_target": "target_modules",
    "lora_target_modules": "target_modules",
    "lora_modules": "target_modules",
    "epochs": "num_epochs",
    "epoch": "num_epochs",
    "n_epochs": "num_epochs",
    "num_train_epochs": "num_epochs",
    "max_epochs": "num_epochs",
    "lr": "learning_rate",
    "learning_rate_multiplier": "learning_rate",
    "lr_scheduler_type": "lr_scheduler",
    "scheduler": "lr_scheduler",
    "warmup": "warmup_ratio",
    "num_warmup_steps": "warmup_steps",
    "bs": "batch_size",
    "micro_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation": "gradient_accumulation_steps",
    "grad_accum": "gradient_accumulation_steps",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "sequence_len": "max_length",
    "seq_length": "max_length",
    "cutoff_len": "max_length",
    "context_length": "max_length",
    "model_max_length": "max_length",
    "val_size": "holdout_fraction",
    "val_set_size": "holdout_fraction",
    "validation_split": "holdout_fraction",
    "eval_split": "holdout_fraction",
    "fp16": "precision",
    "bf16": "precision",
    "dtype": "precision",
    "torch_dtype": "precision",
    "rslora": "use_rslora",
    "neftune_noise_alpha": "prompt_noise",
    "max_grad": "max_grad_norm",
    "clip_grad_norm": "max_grad_norm",
    "wd": "weight_decay",
    "sample_packing": "packing",
    "save_steps": "checkpoint_every_steps",
    "activation_checkpointing": "gradient_checkpointing",
}
BESIDE = {
    "use_qlora": "is given beside config, not in it",
    "load_in_4bit": "is use_qlora here, and is given beside config",
    "qlora": "is use_qlora here, and is given beside config",
    "seed": "is given beside config, not in it",
    "base_model": "is given beside config, not in it",
}
UNSERVABLE = ("use_dora", "modules_to_save", "bias", "lora_bias", "train_embeddings")
NEAREST = 3
ALL_LINEAR = "all-linear"


def named_settings(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings under our names, and for each of them the name that was used.

    Raises:
        ValueError: two names of one setting; it names both.
    """
    named: dict[str, Any] = {}
    asked: dict[str, str] = {}
    for key, value in config.items():
        name = OTHER_NAMES.get(key, key)
        if name in named:
            raise ValueError(f"{asked[name]} is the same setting as {key}")
        named[name], asked[name] = value, key
    return named, asked


def check_settings(
    config: Mapping[str, Any], facts: BaseFacts | None = None
) -> tuple[dict[str, Any], list[Problem]]:
    """The settings under our names, and what is wrong with them by the names that were used.

    facts: of the base model to train on; None checks names, types and ranges alone.
    """
    try:
        named, asked = named_settings(config)
    except ValueError as error:
        return {}, [Problem(str(error).partition(" ")[2], field=str(error).partition(" ")[0])]
    try:
        settings = TrainingConfig.model_validate(named, strict=True)
    except ValidationError as error:
        return named, [_said(problem, asked) for problem in problems_of(error)]
    return named, [] if facts is None else against_base(settings, facts)


def _said(problem: Problem, asked: Mapping[str, str]) -> Problem:
    field = str(problem.field)
    if problem.message == "is not a setting":
        return replace(problem, message=f"is not a setting{_nearest(field)}")
    return replace(problem, field=asked.get(field, problem.field))


def _nearest(name: str) -> str:
    if name in BESIDE:
        return f": it {BESIDE[name]}"
    if name in UNSERVABLE:
        return ": what it trains cannot be served beside other adapters"
    known = list(TrainingConfig.model_fields)
    near = [NEAR_NAMES[name.lower()]] if name.lower() in NEAR_NAMES else []
    near += [n for n in get_close_matches(name.lower(), known, NEAREST, 0.5) if n not in near]
    near += [n for n in known if len(name) > 3 and name.lower() in n and n not in near]
    if near:
        return f"; the nearest are {', '.join(near[:NEAREST])}"
    return f"; the settings are {', '.join(known)}"


def read_spec(text: str | bytes) -> TrainingSpec:
    """`parse_spec`, its config checked as the API checks it.

    Raises:
        UserError: names every field that is wrong; the first is its `field`.
    """
    try:
        values = json.loads(text)
    except ValueError:
        return parse_spec(text)  # which says what is wrong
    config = values.get("config") if isinstance(values, dict) else None
    if not isinstance(config, dict):
        return parse_spec(text)
    named, problems = check_settings(config)
    if problems:
        message = "; ".join(f"config.{p.field}: {p.message}" for p in problems)
        raise UserError("invalid_config", message, field=f"config.{problems[0].field}")
    return parse_spec(json.dumps({**values, "config": named}))


def against_base(settings: TrainingConfig, facts: BaseFacts) -> list[Problem]:
    """What of the settings does not go with the base model."""
    problems = []
    limit = facts.max_positions
    named = "max_length" in settings.model_fields_set
    if limit is not None and named and settings.max_length > limit:
        problems.append(
            Problem(
                f"{settings.max_length} is more than the {limit} tokens that the base model "
                f"{facts.name!r} was made for",
                field="max_length",
            )
        )
    targets = settings.target_modules
    if facts.conv1d:
        text = f"the layers of the base model {facts.name!r} are Conv1D: no adapter can be served"
        problems.append(Problem(f"{text} on them", field="target_modules"))
    elif targets == ALL_LINEAR:
        if not facts.linear:
            text = f"the base model {facts.name!r} has no linear layer outside of its experts"
            problems.append(Problem(text, field="target_modules"))
    else:
        for target in targets:
            if not facts.has(target):
                problems.append(Problem(_no_such_layer(target, facts), field="target_modules"))
    return problems


def _no_such_layer(target: str, facts: BaseFacts) -> str:
    found = ", ".join(facts.kinds)
    text = f"the base model has no linear layer {target!r} that an adapter can be served on; "
    if facts.experts:
        text += "its experts are fused, and none is put on them; "
    return f"{text}it has {found}"


def max_length_for(settings: TrainingConfig, limit: int | None) -> int:
    """Tokens of a row; limit: those that the base was made for. The default bows to it."""
    return settings.max_length if limit is None else min(settings.max_length, limit)


def adapted_layers(settings: TrainingConfig, facts: BaseFacts) -> dict[str, Any]:
    """What an adapter is put on: layers by the last part of their name, and what is left out."""
    targets = settings.target_modules
    counts = {
        kind: sum(name.rpartition(".")[2] == kind for name in facts.linear)
        for kind in facts.kinds
        if targets == ALL_LINEAR or kind in {target.rpartition(".")[2] for target in targets}
    }
    return {"layers": counts, "experts_left_out": facts.experts}
