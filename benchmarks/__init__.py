"""What Flask-LLM costs, beside the bare SDK in one run: `python -m benchmarks`."""
