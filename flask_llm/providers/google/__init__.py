"""Google's models, by three SDKs."""
