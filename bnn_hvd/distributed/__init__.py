"""Ranks: how many there are, what they say to each other, and which of them trains which particle."""
