"""The pure heart of rstore: no I/O, no clock, no randomness."""
