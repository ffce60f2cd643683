"""`fastcore check`: is this settings file right? Says everything that is not, with its line."""

import argparse
import json
import os
import sys

from apps.commands.common import command
from apps.exits import CONFIG, OK, USAGE, CommandError
from apps.gateway.config import load_settings
from apps.gateway.config_model import Gateway
from apps.gateway.serving import CONFIG_VARIABLE
from apps.readable import file_error
from apps.settings_file import FileError

EXAMPLES = """\
  fastcore check -c gateway.yaml             gateway.yaml:7:21: routes[0].upstream: no upstream is called 'helo'; ...
  fastcore check --schema > gateway.schema.json    for editors: # yaml-language-server: $schema=gateway.schema.json"""


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = command(subparsers, "check", "Check a settings file and print every error with its line.", EXAMPLES)
    parser.add_argument("-c", "--config", metavar="FILE", help=f"the file (or environment {CONFIG_VARIABLE})")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of the file instead")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.schema:
        json.dump(schema(), sys.stdout, indent=2)
        print()
        return OK
    file = arguments.config or os.environ.get(CONFIG_VARIABLE)
    if not file:
        raise CommandError("name the file: fastcore check -c FILE", USAGE)
    try:
        loaded = load_settings(file)
    except FileError as error:
        raise file_error(error) from None
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if loaded.settings is None:
        for problem in loaded.problems:
            print(problem, file=sys.stderr)
        count = len(loaded.problems)
        raise CommandError(f"{file}: {count} error{'s' if count != 1 else ''}", CONFIG)
    settings = loaded.settings
    print(f"{file}: ok ({len(settings.routes)} routes, {len(settings.upstreams)} upstreams)")
    return OK


def schema() -> dict[str, object]:
    """JSON Schema (2020-12) of the gateway's file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Gateway.model_json_schema(mode="validation")}
