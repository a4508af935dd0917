"""Observers: a log that tells what it does, and the mappings to OpenTelemetry and Prometheus."""
