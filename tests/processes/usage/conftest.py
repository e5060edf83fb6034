# ruff: noqa: F401  # fixtures
from usage_logs import (
    app_of,
    lines,
    mariadb_server,
    mariadb_url,
    postgres_server,
    postgres_url,
    script,
    source,
    url,
)
