"""Delivery beside bare loops."""
