"""Read-only figures for the console."""
