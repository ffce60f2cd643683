"""Flags every service command takes, and how they become settings."""

import argparse
from collections.abc import Mapping
from typing import Any

from apps.yaml_source import Path

EXIT_STATUSES = """\
exit status: 0 ok; 1 failed; 2 wrong usage; 66 a file is missing or unreadable; 69 an address is taken or a service died
at start; 77 no permission; 78 the settings are wrong (every error is printed with its line)"""


def command(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    """A sub-command whose help ends with examples and the exit statuses."""
    return subparsers.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"examples:\n{examples}\n\n{EXIT_STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_service_flags(parser: argparse.ArgumentParser, config_variable: str) -> None:
    """-c, --workers, --listen, --control: a flag wins over the environment, that over the file."""
    parser.add_argument("-c", "--config", metavar="FILE", help=f"settings in YAML (or environment {config_variable})")
    parser.add_argument("--workers", metavar="N", help="worker processes; `auto` is one for each CPU")
    parser.add_argument(
        "--listen", metavar="ADDRESS", action="append", help="host:port, [ipv6]:port or unix:/path; may be repeated"
    )
    parser.add_argument("--control", metavar="ADDRESS", help="address of health, metrics and status page")


def flags(arguments: argparse.Namespace) -> Mapping[Path, tuple[str, Any]]:
    """The given flags as settings: path to (name of the flag, value)."""
    return {
        (name,): (f"--{name}", value)
        for name in ("workers", "listen", "control")
        if (value := getattr(arguments, name, None)) is not None
    }
