"""The supervisor: starts processes in order, keeps them running, stops them in reverse."""
