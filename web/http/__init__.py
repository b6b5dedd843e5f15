"""What every route shares: authentication, bodies, errors, idempotency, OpenAPI, paging."""
