from storages import _redis_server, open_store, redis_client, redis_server, store, url  # noqa: F401  # fixtures
