"""Limits and retries: time, threads, circuits and their storage. Knows no provider."""
