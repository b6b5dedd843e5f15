"""`/company-automation/datasets/check`: what a dataset holds, without training."""

from __future__ import annotations

from flask import Response, jsonify, request

from cyrex.adapters.base_model import base_model_dir, require_served, served_facts
from cyrex.datasets import jsonl
from cyrex.errors import UserError
from cyrex.training.check import check_config, check_size
from cyrex.training.check_child import survey
from web.http.auth import company_of, require_company, session_for
from web.http.body import FILE
from web.http.openapi import TRAINING, blueprint, documented, refusals
from web.shapes import datasets as shapes

api = blueprint("datasets", __name__, "/company-automation", TRAINING)

NAME = "training_data"


@api.post(
    "/datasets/check",
    summary="Check a dataset without training",
    responses={**documented((200, shapes.DatasetReport), limited=True), **refusals(413, 415)},
)
def check_dataset(query: shapes.CheckQuery, body: shapes.CheckDataset) -> Response:
    """The whole report: rows by form, bad rows, tokens, cut and dropped rows, duplicates, near
    duplicates, contradictions, labels, leakage, control tokens, personal data, and what a training
    would take. `format=html` answers with a page. Nothing is stored.

    The rows may come as a file, as for `train-adapter`.
    """
    company_id = company_of(body.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
    if body.base_model is not None:
        require_served(body.base_model)
    config = check_config(body.config or {})
    name, content = request.environ.get(FILE) or (NAME, _lines(body))
    base = base_model_dir() if served_facts() is not None else None
    page = query.format == "html"
    report, html = survey(content, name, config, base, page)
    if page:
        return Response(html or "", content_type="text/html; charset=utf-8")
    return jsonify(report)


def _lines(body: shapes.CheckDataset) -> bytes:
    if body.training_data is None:
        raise UserError("no_examples", "training_data: must hold an example", "training_data")
    check_size(body.training_data)
    return b"".join(jsonl(line) for line in body.training_data)
