"""Channels, heads and blocks: what of a network can go as a whole, what it is worth, and how it is cut out."""
