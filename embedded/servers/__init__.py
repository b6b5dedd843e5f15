"""Postgres and Valkey from their wheels."""
