"""`fastcore api-key`: makes an API key, and what the gateway's file says about it."""

import argparse
import hashlib
import secrets
import sys

from apps.commands.common import command
from apps.exits import OK

EXAMPLES = """\
  fastcore api-key alice                     a new key for alice: give it to her, and put the line into the file
  fastcore api-key alice --from-stdin        the line for a key that exists already"""

KEY_BYTES = (
    32  # of randomness: nobody finds it by trying, so a plain SHA-256 protects it at rest as well as a slow hash
)


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = command(subparsers, "api-key", "Make an API key and its line for the gateway's file.", EXAMPLES)
    parser.add_argument("subject", help="whose key it is")
    parser.add_argument("--scope", action="append", default=[], help="what it may be used for; may be repeated")
    parser.add_argument("--from-stdin", action="store_true", help="read the key instead of making one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    key = sys.stdin.readline().rstrip("\r\n") if arguments.from_stdin else f"fc_{secrets.token_urlsafe(KEY_BYTES)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    scopes = f", scopes: [{', '.join(arguments.scope)}]" if arguments.scope else ""
    if not arguments.from_stdin:
        print(f"key: {key}", file=sys.stderr)
    print(f"- {{sha256: {digest}, subject: {arguments.subject}{scopes}}}")
    return OK
