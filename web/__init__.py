"""The HTTP API: authenticate, validate, write rows and outbox in one transaction, hand over.

It never loads a model library: models run in workers.
"""

from web.app import create_app

__all__ = ["create_app"]
