"""LINE's protocol and look; knows none of our rules."""
