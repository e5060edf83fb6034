from traced_apps import instrumented, make_app, server, traces  # noqa: F401  # fixtures
