"""What the bot does about each LINE event: one module for each noun."""
