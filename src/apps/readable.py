"""A settings file that cannot be read, as the command says it."""

import errno

from apps.exits import NO_INPUT, NO_PERMISSION, CommandError
from apps.settings_file import FileError


def file_error(error: FileError) -> CommandError:
    """The command's error for it: permission has a status of its own."""
    return CommandError(str(error), NO_PERMISSION if error.errno in (errno.EACCES, errno.EPERM) else NO_INPUT)
