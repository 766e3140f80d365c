"""Who hears what, when: journeys, the one gate, free rides, and the outbox."""
