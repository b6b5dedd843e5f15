"""Companies, their API keys and their quotas."""
