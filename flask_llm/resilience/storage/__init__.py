"""Where circuits live: in the process, on the host, or in Redis."""
