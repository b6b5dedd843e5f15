"""An inference worker's engine, and the conversations that it answers."""
