"""The log on Redis, Valkey and their clusters."""
