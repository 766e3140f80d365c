"""The one migration history of both engines."""
