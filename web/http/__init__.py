"""Shared by all routes: authentication, bodies, errors, idempotency, OpenAPI, paging."""
