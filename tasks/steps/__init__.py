"""The tasks that advance a row by one step."""
