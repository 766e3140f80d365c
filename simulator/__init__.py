"""A stand-in LINE platform: it speaks LINE's own HTTP and imports nothing of the product."""
