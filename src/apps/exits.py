"""Exit statuses of the `fastcore` command (sysexits.h where it has a word for it) and the error that carries one."""

OK = 0
FAILED = 1  # something ran and went wrong
USAGE = 2  # argparse's own
UNAVAILABLE = 69  # EX_UNAVAILABLE: an address is taken, a child died at start
NO_INPUT = 66  # EX_NOINPUT: a file is missing or unreadable as text
NO_PERMISSION = 77  # EX_NOPERM
CONFIG = 78  # EX_CONFIG: the settings are wrong


class CommandError(Exception):
    """Ends the command with `message` on standard error and `status`; no traceback."""

    def __init__(self, message: str, status: int = FAILED):
        super().__init__(message)
        self.status = status
