from chromium import chromium  # noqa: F401  # a fixture
from made_reports import memory, now, some  # noqa: F401  # fixtures
