from doctor_looks import _redis_server, flask, flask_process, look, redis_server  # noqa: F401  # fixtures
