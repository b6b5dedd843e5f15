"""Companies' HTTP tools: registration, and calls."""
