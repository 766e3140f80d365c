"""LINE's rules for what may be sent: structure, lengths, addresses (line-platform.md section 10)."""
