"""Adapters: what a company may ask of them, how one is evaluated, promoted and fetched."""
