"""`LLM_USAGE_URL`: what it may say. No fault repeats it: it may hold a password."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from ...config.parsers import is_folder
from ...errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import URL

_FILE = "flask_llm_usage.sqlite3"
# By what they are called, and where they come from; the first one is preferred.
_DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}
# The one keeps no empty texts, the other adds up no subqueries and has no truth values.
_UNFIT = {"oracle", "mssql"}


@dataclass(frozen=True)
class DatabaseURL:
    """Where the database of the log is.

    Attributes:
        file: The file of SQLite, else None.
        server: The address of any other database, else None.
    """

    file: Path | None = None
    server: "URL | None" = field(default=None, repr=False)

    @cached_property
    def engine_url(self) -> "URL":
        """The address as SQLAlchemy takes it."""
        from sqlalchemy import URL

        if self.server is not None:
            return self.server
        return URL.create("sqlite+pysqlite", database=str(self.file))

    def __str__(self) -> str:
        """Return where it is, for people; without a password."""
        if self.server is None:
            return str(self.file)
        return self.server.set(query={}).render_as_string(hide_password=True)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may hold."""
        if self.server is None:
            return ()
        password = str(self.server.password or "")
        hidden = {password, quote(password, ""), quote_plus(password)}
        return tuple(hidden | set(map(str, self.server.query.values())))


def database_url_of(url: str, folder: str) -> DatabaseURL:
    """Return the database that an address names; connects to nothing.

    Args:
        url: The value of LLM_USAGE_URL; "" for a file in the folder.
        folder: The app's instance folder, where a relative file is too.

    Raises:
        ConfigurationError: It names none, or what it needs is not installed.
    """
    if not url:
        return DatabaseURL(file=Path(folder) / _FILE)
    try:
        return _parsed(url, folder)
    except ValueError as fault:
        raise ConfigurationError([f"LLM_USAGE_URL {fault}"]) from None


def _parsed(url: str, folder: str) -> DatabaseURL:
    """Return it; a fault is the second half of a sentence."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(
            "is no address of a database, such as postgresql://HOST/NAME or"
            " sqlite:////PATH"
        ) from None
    backend, _, driver = parts.drivername.partition("+")
    if backend == "sqlite" and driver in {"", "pysqlite"}:
        return DatabaseURL(file=_file(parts, folder))
    if backend == "sqlite":
        raise ValueError("must begin with sqlite:/// to name a file of SQLite")
    if backend in {"postgresql", "postgres"} and driver in {"", *_DRIVERS}:
        driver = _installed([driver] if driver else list(_DRIVERS))
        return DatabaseURL(server=parts.set(drivername=f"postgresql+{driver}"))
    _check_driver(parts)
    return DatabaseURL(server=parts)


def _file(parts: "URL", folder: str) -> Path:
    """Return the file of an SQLite address."""
    name = parts.database or ""
    if not name or name == ":memory:" or name.startswith("file:") or parts.query:
        raise ValueError("must name a file and nothing else, as in sqlite:////PATH")
    # Absolute now: a server may change its folder later.
    path = Path(folder, name).absolute()
    if is_folder(path):
        raise ValueError("names a folder; it must name a file")
    if Path(name).is_absolute() and not is_folder(path.parent):
        raise ValueError(
            "names a file in a folder that does not exist, or is closed to this process"
        )
    return path


def _check_driver(parts: "URL") -> None:
    """See that SQLAlchemy can use a database that is not one of our own two."""
    from sqlalchemy.exc import NoSuchModuleError

    try:
        dialect = parts.get_dialect()
        if not dialect.is_async:
            dialect.import_dbapi()
    except NoSuchModuleError:
        raise ValueError(
            "names a kind of database, or a driver, that SQLAlchemy does not know; is"
            " its package installed?"
        ) from None
    except ImportError as fault:
        raise ValueError(
            f"needs {fault.name or 'a driver'}, which is not installed"
        ) from None
    if dialect.is_async:
        raise ValueError("names a driver for asyncio; it must name another one")
    if dialect.name in _UNFIT:
        raise ValueError("names Oracle or SQL Server, which cannot keep these tables")


def _installed(drivers: Sequence[str]) -> str:
    """Return the first driver that is installed."""
    found = [each for each in drivers if find_spec(each)]
    if not found:
        package = _DRIVERS[drivers[0]]
        raise ValueError(
            f'needs {drivers[0]}, which is not installed: pip install "{package}"'
        )
    return found[0]
