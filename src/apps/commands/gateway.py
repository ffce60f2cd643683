"""`fastcore gateway`: the API gateway in the foreground."""

import argparse
import os

from apps import listening
from apps.commands.common import add_service_flags, command, flags
from apps.exits import CONFIG, OK, CommandError
from apps.gateway.serving import CONFIG_VARIABLE, checked, plan
from apps.gunicorn_app import ServiceApplication
from apps.readable import file_error
from apps.settings import InvalidSettings
from apps.settings_file import FileError

EXAMPLES = """\
  fastcore gateway -c gateway.yaml                 listen where the file says, or on 127.0.0.1:8080
  fastcore gateway -c gateway.yaml --workers 4 --listen :80 --listen [::1]:8080
  FASTCORE_GATEWAY_TIMEOUTS_CONNECT=1s fastcore gateway -c gateway.yaml

  kill -HUP <pid>   read the file again, new workers, no request lost     kill -TERM <pid>   finish and stop
  kill -USR2 <pid>  start a new version beside the old one"""


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = command(subparsers, "gateway", "Run the API gateway.", EXAMPLES)
    add_service_flags(parser, CONFIG_VARIABLE)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    # The master changes its folder nowhere, but an upgrade (USR2) may: the name must mean the same file then.
    file = arguments.config or os.environ.get(CONFIG_VARIABLE)
    settings_flags = flags(arguments)
    try:
        loaded = checked(file, settings_flags)
        if not listening.is_inherited() and loaded.settings is not None:
            listening.probe((*loaded.settings.listen, loaded.settings.control))
        application = ServiceApplication(lambda: plan(file, settings_flags))
    except FileError as error:
        raise file_error(error) from None
    except InvalidSettings as error:
        raise CommandError(str(error), CONFIG) from None
    for warning in loaded.warnings:
        print(f"warning: {warning}", flush=True)
    application.run()
    return OK
