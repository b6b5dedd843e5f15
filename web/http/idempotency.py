"""`Idempotency-Key`: the same key and body get the same answer, and the work is done once.

The key's row is inserted first in the transaction that does the work. A simultaneous duplicate
waits on the unique index until that transaction ends: after a commit it reads the stored answer,
after a rollback it does the work itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Response, jsonify, request
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.errors import Conflict
from database.base import Json
from database.models import IdempotencyKey
from web.http.auth import caller

KEPT_FOR = timedelta(hours=24)
REPLAYED_HEADER = "Idempotent-Replayed"
# No company can have this id, so no company can read the operator's answers.
OPERATOR = "(operator)"
# Fields that do not change what is requested.
NOT_COMPARED = {"wait"}


@dataclass(frozen=True)
class StoredAnswer:
    """The answer to the first request with a key."""

    status_code: int
    answer: Json

    def response(self, replayed: bool, location: str | None = None) -> Response:
        """The HTTP response; the header of a replay says that it is one."""
        response = jsonify(self.answer)
        response.status_code = self.status_code
        if location is not None:
            response.headers["Location"] = location
        if replayed:
            response.headers[REPLAYED_HEADER] = "true"
        return response


@dataclass(frozen=True)
class Once:
    """A request that may arrive twice. Without a key nothing is looked up or stored."""

    owner: str
    route: str
    key: str | None
    body_sha256: str

    @classmethod
    def of_request(cls, key: str | None, company_id: str | None) -> Once:
        """`company_id`: the owner of the rows that the request creates; None: the operator."""
        # The rule and not the path: a trailing slash does not change the request.
        route = f"{request.method} {request.url_rule}"
        if caller().scope == "operator":
            # A company and an operator who acts for it do not share keys.
            route += " (operator)"
        body = dict(request.get_json()) if key is not None else {}
        # The ids in the path say what is asked for as much as the body.
        body |= {f"({name})": value for name, value in (request.view_args or {}).items()}
        return cls(company_id or OPERATOR, route, key, digest(body))

    def seen(self, session: Session) -> StoredAnswer | None:
        """The stored answer, if there is one. Raises `Conflict` if it answered another body."""
        if self.key is None:
            return None
        found = session.scalar(
            select(IdempotencyKey).where(*self._mine(), IdempotencyKey.expires_at > func.now())
        )
        if found is None:
            return None
        if found.body_sha256 != self.body_sha256:
            raise Conflict(
                "idempotency_key_reuse",
                "this Idempotency-Key was used with another body; use a new key for a new request",
                "Idempotency-Key",
            )
        return StoredAnswer(found.status_code or 200, found.answer or {})

    def begin(self, session: Session) -> StoredAnswer | None:
        """Take the key (None), or return the stored answer. Waits for a simultaneous duplicate."""
        if self.key is None:
            return None
        session.execute(
            delete(IdempotencyKey).where(*self._mine(), IdempotencyKey.expires_at <= func.now())
        )
        taken = session.scalar(
            insert(IdempotencyKey)
            .values(
                owner=self.owner,
                route=self.route,
                key=self.key,
                body_sha256=self.body_sha256,
                expires_at=func.now() + KEPT_FOR,
            )
            .on_conflict_do_nothing()
            .returning(IdempotencyKey.id)
        )
        if taken is not None:
            return None
        stored = self.seen(session)
        if stored is None:
            raise Conflict(
                "idempotency_key_expired", "this Idempotency-Key has just expired; send it again"
            )
        return stored

    def do(self, session: Session, work: Callable[[], StoredAnswer]) -> tuple[StoredAnswer, bool]:
        """Do the work and store its answer, or return the stored one and True."""
        stored = self.begin(session)
        if stored is not None:
            return stored, True
        stored = work()
        self.finish(session, stored.status_code, stored.answer)
        return stored, False

    def finish(self, session: Session, status_code: int, answer: Mapping[str, Any]) -> None:
        """Store the answer in the transaction that did the work. It must hold no secret."""
        if self.key is not None:
            session.execute(
                update(IdempotencyKey)
                .where(*self._mine())
                .values(status_code=status_code, answer=dict(answer))
            )

    def _mine(self) -> tuple[Any, ...]:
        return (
            IdempotencyKey.owner == self.owner,
            IdempotencyKey.route == self.route,
            IdempotencyKey.key == self.key,
        )


def digest(body: Mapping[str, Any]) -> str:
    """SHA-256 of a body's compared fields, whatever their order."""
    compared = {name: value for name, value in body.items() if name not in NOT_COMPARED}
    text = json.dumps(compared, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
