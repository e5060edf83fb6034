"""The tables are there, and are ours; or they are made."""

from sqlalchemy import Connection, func, insert, inspect, select

from .tables import VERSION, metadata, schema
from .wording import WrongVersion

def is_ready(connection: Connection) -> bool:
    """Return whether the tables are there.

    Raises:
        WrongVersion: They are not those of this Flask-LLM.
    """
    if not inspect(connection).has_table(schema.name):
        return False
    version = connection.scalar(select(func.max(schema.c.version)))
    if version not in {None, VERSION}:
        raise WrongVersion(
            f"its tables are of version {version}; this Flask-LLM knows {VERSION} only"
        )
    return version is not None


def make_ready(connection: Connection) -> None:
    """Make the tables that are missing; nobody else may do so meanwhile.

    Those that Alembic has made are complete but for the version.
    """
    if not is_ready(connection):
        metadata.create_all(connection)
        connection.execute(insert(schema).values(version=VERSION))
