"""Settings: from app.config and the environment to typed values."""
