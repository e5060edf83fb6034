from storages import _redis_server, redis_server, url  # noqa: F401  # fixtures
