"""What the app does, free of HTTP."""
