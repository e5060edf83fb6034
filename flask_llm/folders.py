"""Folders that the configuration names."""

import os
from pathlib import Path

def is_folder(path: str | Path) -> bool:
    """Return whether there is such a folder, for this process.

    `Path.is_dir` raises where a folder on the way is closed, or a name is too long.
    """
    return os.path.isdir(path)  # noqa: PTH112


def can_be_written(folder: Path) -> bool:
    """Return whether files can be made in a folder, which may still be missing."""
    path = folder.absolute()
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    return is_folder(there) and os.access(there, os.W_OK | os.X_OK)
