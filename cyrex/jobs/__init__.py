"""Automation jobs."""
