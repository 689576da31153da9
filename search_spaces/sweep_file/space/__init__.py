"""What a space file draws, and how a sweep file narrows and widens it."""
