"""What this process has seen in the last hour, for a dashboard without a usage log."""

from flask import Flask

from ..factory import LLMFactory


def install(app: Flask, factory: LLMFactory) -> None:
    """Keep an app's calls in memory for an hour."""
