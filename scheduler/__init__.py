"""The clock: a table of jobs, occurrences claimed in our own database, APScheduler as the tick."""
