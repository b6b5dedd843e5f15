"""Retraining schedules."""
