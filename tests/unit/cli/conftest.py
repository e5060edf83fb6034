from usage_logs import app_of, lines, postgres_server, postgres_url, script, source, url  # noqa: F401  # fixtures
