"""What an operator does to a store: check it, compact it, encrypt it anew, back it up."""
