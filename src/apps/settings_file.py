"""The files a service's settings are in: the file itself, and the one with the control plane's token."""

import errno
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from apps.settings import Loaded
from apps.yaml_source import Bounds

LONGEST_TOKEN = 4096


class FileError(Exception):
    """The settings file cannot be read; `errno` says why."""

    def __init__(self, file: str, error: OSError):
        super().__init__(f"{file}: {error.strerror or error}")
        self.errno = error.errno


def read_settings(file: str) -> str:
    """The text of a settings file. Raises FileError."""
    try:
        with Path(file).open("rb") as stream:
            # One byte over the bound is enough for the parser to say that the file is too large.
            return stream.read(Bounds().file_bytes + 1).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(file, OSError(errno.EILSEQ, f"not UTF-8 at byte {error.start}")) from None
    except OSError as error:
        raise FileError(file, error) from None


def read_token(loaded: Loaded[Any], file: str, setting: str = "control_token_file") -> SecretStr | None:
    """What stands in the file that `setting` names, read once, so that nothing later needs it or its permissions. None:
    it cannot be used, which is among the problems then."""
    try:
        with Path(file).open() as stream:
            token = stream.read(LONGEST_TOKEN + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        loaded.problems.append(loaded.problem((setting,), f"{file}: {reason}"))
        return None
    if not token or len(token) > LONGEST_TOKEN:
        message = f"{file}: a token has 1 to {LONGEST_TOKEN} characters"
        loaded.problems.append(loaded.problem((setting,), message))
        return None
    return SecretStr(token)
