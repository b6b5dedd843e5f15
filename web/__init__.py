"""The HTTP API: authenticate, validate, write rows and outbox in one transaction, hand over.

Never loads a model library: what runs a model runs in a worker.
"""

from web.app import create_app

__all__ = ["create_app"]
