"""`fastcore tasks`: the task queue in the foreground."""

import argparse
import os

from apps import listening
from apps.commands.common import command, flags
from apps.exits import CONFIG, OK, CommandError
from apps.gunicorn_app import ServiceApplication
from apps.readable import file_error
from apps.settings import InvalidSettings
from apps.settings_file import FileError
from apps.tasks.config import CONFIG_VARIABLE, checked
from apps.tasks.serving import plan

EXAMPLES = """\
  fastcore tasks                                   jobs in var/tasks, Faktory's protocol on 127.0.0.1:7419
  fastcore tasks --data /srv/tasks                 jobs elsewhere
  fastcore tasks -c tasks.yaml --listen :7419      for other machines: needs `password_file` in the file

  curl 127.0.0.1:7420/queues                       how long they are        curl '127.0.0.1:7420/why?jid=JID'
  kill -TERM <pid>                                 stop; what was answered is on the disk"""


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = command(subparsers, "tasks", "Run the task queue, which clients of Faktory can talk to.", EXAMPLES)
    parser.add_argument("-c", "--config", metavar="FILE", help=f"settings in YAML (or environment {CONFIG_VARIABLE})")
    parser.add_argument("--data", metavar="DIR", help="where the jobs are (var/tasks)")
    parser.add_argument(
        "--listen", metavar="ADDRESS", action="append", help="host:port, [ipv6]:port or unix:/path; may be repeated"
    )
    parser.add_argument("--control", metavar="ADDRESS", help="address of health, metrics, queues and jobs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    file = arguments.config or os.environ.get(CONFIG_VARIABLE)
    given = dict(flags(arguments))
    if arguments.data is not None:
        given[("data",)] = ("--data", arguments.data)
    try:
        settings = checked(file, given).settings
        if not listening.is_inherited() and settings is not None:
            listening.probe((*settings.listen, settings.control))
        application = ServiceApplication(lambda: plan(file, given))
    except FileError as error:
        raise file_error(error) from None
    except InvalidSettings as error:
        raise CommandError(str(error), CONFIG) from None
    application.run()
    return OK
