"""Claims rows that are due, handles events, and sends what is queued."""
