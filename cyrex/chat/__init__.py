"""Conversations: the protocol between web and worker, names of models, usage."""
