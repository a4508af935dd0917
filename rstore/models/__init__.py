"""What a log is folded into: key/value pairs, time series, event sequences."""
