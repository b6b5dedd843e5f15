"""Agents: prompt, turns, state between two turns, company memory."""
