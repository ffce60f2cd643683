"""Files the settings name: keys, certificates, answers. They are read whole, so they have a bound."""

import os
from pathlib import Path

BYTES_MAX = 1 << 20


def read(file: str) -> bytes:
    """Raises ValueError when it is too long, and OSError."""
    with Path(file).open("rb") as stream:
        data = stream.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise ValueError(f"{file}: longer than {BYTES_MAX} bytes")
    return data


def said(error: OSError | ValueError) -> str:
    """For people, with the file's name."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)


def place_of(file: str) -> str:
    """What tells that a file is another one, or was written again; empty where there is none."""
    try:
        found = os.stat(file)  # noqa: PTH116 (of what a link leads to)
    except OSError:
        return ""
    return f"{found.st_dev} {found.st_ino} {found.st_mtime_ns} {found.st_size}"
