"""Ranks: how many there are, how they communicate, and which of them trains which particle."""
