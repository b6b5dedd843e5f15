from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from synapse.payloads import PAYLOADS, TYPES, JobRequested, TrainingRequested

TRAINING: dict[str, Any] = {"request_id": "r1", "company_id": "acme"}
JOB: dict[str, Any] = {"company_id": "acme", "data": {"input": "x"}}


@pytest.mark.parametrize("data", [{}, {"dataset_id": "d", "training_data": []}])
def test_a_training_has_exactly_one_source_of_lines(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of"):
        TrainingRequested(**TRAINING, **data)
    assert TrainingRequested(**TRAINING, training_data=[]).training_data == []


@pytest.mark.parametrize("company_id", ["", "a b", "a\n", "a\x00", "a" * 201])
def test_ids_have_no_blank_and_no_control_character(company_id: str) -> None:
    with pytest.raises(ValidationError, match="company_id"):
        JobRequested(**JOB | {"company_id": company_id})


@pytest.mark.parametrize("job_id", ["a/b", "ä", "a" * 129, ".." * 100])
def test_an_id_that_becomes_a_rows_is_plain(job_id: str) -> None:
    with pytest.raises(ValidationError, match="job_id"):
        JobRequested(**JOB, job_id=job_id)


def test_what_a_payload_does_not_name_is_kept() -> None:
    assert JobRequested(**JOB, priority=3).model_extra == {"priority": 3}


def test_every_type_stands_on_one_stream() -> None:
    listed = [name for names in TYPES.values() for name in names]
    assert sorted(listed) == sorted(PAYLOADS)
