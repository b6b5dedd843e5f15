"""The caller, the company that a request is about, and the database session for both."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import AbstractContextManager

from flask import g, request
from sqlalchemy.orm import Session

from cyrex.errors import UserError
from cyrex.tenants.keys import Principal, authenticate
from cyrex.tenants.service import get_company
from database.session import WEB, company_session, operator_session
from web.http.errors import Forbidden, Unauthenticated

# A key that another process revokes works here for at most this long.
KEY_CACHE_SECONDS = 2.0
KEY_CACHE_ENTRIES = 4096

# Every other route needs a key.
PUBLIC_BLUEPRINTS = {"health", "openapi", "swagger"}


class KeyCache:
    """Recently seen keys by their SHA-256: saves a database look-up per request of a burst."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Principal, float]] = {}

    def get(self, key: str) -> Principal | None:
        found = self._known.get(_digest(key))
        if found is None or found[1] < time.monotonic():
            return None
        return found[0]

    def put(self, key: str, principal: Principal, seen_at: float) -> None:
        with self._lock:
            if len(self._known) >= KEY_CACHE_ENTRIES:
                self._known.clear()
            self._known[_digest(key)] = (principal, seen_at + KEY_CACHE_SECONDS)

    def forget(self, prefix: str) -> None:
        """Drop a revoked key, which stops working in this process at once."""
        with self._lock:
            kept = {k: v for k, v in self._known.items() if v[0].prefix != prefix}
            self._known = kept


key_cache = KeyCache()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _presented_key() -> str:
    header = request.headers.get("Authorization", "")
    scheme, _, credentials = header.partition(" ")
    if header and scheme.lower() != "bearer":
        raise Unauthenticated("invalid_api_key", "Authorization must be `Bearer cx_...`")
    key = credentials.strip() or request.headers.get("X-API-Key", "").strip()
    if not key:
        raise Unauthenticated(
            "missing_api_key", "send your API key as `Authorization: Bearer cx_...`"
        )
    return key


def identify() -> None:
    """Before each request: set `g.principal`. Raises `Unauthenticated`; reads no body."""
    if request.routing_exception is not None or request.blueprint in PUBLIC_BLUEPRINTS:
        return
    key = _presented_key()
    principal = key_cache.get(key)
    if principal is None:
        # Before the look-up: a key revoked meanwhile must expire no later than any other.
        seen_at = time.monotonic()
        principal = authenticate(key)
        if principal is None:
            raise Unauthenticated("invalid_api_key", "this API key is unknown or revoked")
        key_cache.put(key, principal, seen_at)
    g.principal = principal


def caller() -> Principal:
    principal: Principal = g.principal
    return principal


def require_operator() -> None:
    if caller().scope != "operator":
        raise Forbidden("operator_required", "this needs an operator's key")


def company_or_all(requested: str | None) -> str | None:
    """The company whose rows a list shows: the key's own, or the one that an operator names.

    None: all companies. Raises `Forbidden` for another company's id.
    """
    own = caller().company_id
    if own is None:
        return requested
    if requested is not None and requested != own:
        raise Forbidden(
            "company_forbidden", "this API key belongs to another company", param="company_id"
        )
    return own


def company_of(requested: str | None) -> str:
    """The company that a request is about; an operator must name it. Raises `UserError`."""
    company_id = company_or_all(requested)
    if company_id is None:
        raise UserError(
            "company_required",
            "company_id: an operator's key has to say for which company",
            param="company_id",
        )
    return company_id


def session_for(company_id: str | None) -> AbstractContextManager[Session]:
    """A transaction bound to `company_id`; None: to the caller's company, an operator's to none."""
    company_id = company_id or caller().company_id
    if company_id is None:
        return operator_session()
    return company_session(company_id, role=WEB)


def require_company(session: Session, company_id: str | None) -> None:
    """Raise `NotFound` for a company that does not exist; its own key proves that it does."""
    if company_id is not None and company_id != caller().company_id:
        get_company(session, company_id)
