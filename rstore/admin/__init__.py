"""Operations for the operator of a store: check it, compact it, encrypt it with another key, back it up."""
