"""Synapse: events between the parts and with the outside. Outbox, relay, streams, consumer, inbox.

An event commits in the outbox with the change it announces (`outbox`), is carried to its Redis
stream (`relay`), read there (`consumer`) and has its effect once, in the transaction that writes
its id to the inbox. Postgres is the truth; a stream may lose, double or shuffle what it carries.
"""
