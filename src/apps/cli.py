"""The `fastcore` command: reads the command line, runs the sub-command, turns its errors into one sentence."""

import argparse
import logging
import sys
from collections.abc import Sequence

from apps.commands import api_key, bench, check, demo, gateway, store, tasks, up
from apps.commands.common import EXIT_STATUSES
from apps.exits import FAILED, CommandError
from fastcore import __version__

EPILOG = f"""\
first steps:
  fastcore up                            see it work: the gateway in front of a demo application
  fastcore check -c gateway.yaml         is my settings file right?
  fastcore gateway -c gateway.yaml       run it
  fastcore tasks --data DIR              run the task queue
  fastcore store verify DIR              is a key-value store sound?

Every setting is also an environment variable, as in FASTCORE_GATEWAY_WORKERS=4;
a flag wins over the environment, the environment over the file, the file over the default.

{EXIT_STATUSES}"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="fastcore",
        description="API gateway, task queue, real-time backend and key-value store for Python teams.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"fastcore {__version__}")
    subparsers = made.add_subparsers(metavar="COMMAND", required=True)
    for module in (gateway, tasks, up, check, api_key, bench, demo, store):
        module.add(subparsers)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except CommandError as error:
        print(f"fastcore: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # `fastcore check --schema | head`
        sys.stderr.close()
        return FAILED
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
