"""The time machine: what was changed, by whom and why, and what follows from it."""
