"""What the bot shows in a chat, one file per noun: pure builders, values in, message out."""
