"""Requests that outlast a transaction: handing over, waiting, streaming, disconnects."""
