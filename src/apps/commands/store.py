"""`fastcore store`: what an operator does with a key-value store in a directory: look, repair, copy, back up."""

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from apps.dumping import json_line, text_line, unescaped
from apps.exits import FAILED, OK, USAGE, CommandError
from apps.progress import Progress, readable_bytes

if TYPE_CHECKING:
    from fastcore.lsm import KeyspaceStats, Store, StoreStats
    from fastcore.storecheck import CheckReport, RepairReport

EXIT_STATUSES = (
    "exit status: 0 all is well; 1 damage was found; 2 wrong usage, or it could not be done (no store, locked, no room)"
)

SUMMARY = "Look at, repair, copy and back up a key-value store."
EXAMPLES = """\
  fastcore store verify /var/lib/app/store           is every byte as it was written?
  fastcore store repair /var/lib/app/store           make it open again; damaged files go to lost/
  fastcore store stats /var/lib/app/store            keyspaces, levels, sizes
  fastcore store dump /var/lib/app/store --prefix user/ --limit 10
  fastcore store checkpoint /var/lib/app/store /var/lib/app/copy
  fastcore store backup /var/lib/app/store /mnt/backups/app --keep 7
  fastcore store restore /mnt/backups/app /var/lib/app/store

A store that a program has open is locked: stop the program, or use its own Store.verify(), .checkpoint(), .backup().
Each action has a help of its own: fastcore store verify --help"""

PROBLEMS_SHOWN = 100
WHAT_NEXT = """\
what next:
  restore a backup if there is one         fastcore store restore BACKUPS NEW_DIR
  or keep what is sound                    cp -a {dir} {dir}.before && fastcore store repair {dir}"""


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _parser(subparsers, "store", SUMMARY, EXAMPLES)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_verify(actions)
    _add_stats(actions)
    _add_dump(actions)
    _add_repair(actions)
    _add_checkpoint(actions)
    _add_backup(actions)
    _add_restore(actions)


def _parser(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    return subparsers.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"examples:\n{examples}\n\n{EXIT_STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    examples: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = _parser(actions, name, summary, examples)
    parser.set_defaults(run=lambda arguments: _guarded(run, arguments))
    return parser


def _directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", help="the store's directory")


def _guarded(run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Errors of the store as one sentence, with what to do next."""
    from fastcore import lsm

    try:
        return run(arguments)
    except lsm.CorruptionError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", FAILED) from None
    except lsm.LockedError as error:
        advice = "stop the program that has it open, or let it call Store.verify(), .checkpoint() or .backup() itself"
        raise CommandError(f"{error.filename}: {error.strerror}\n{advice}", USAGE) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandError(f"{where}{error.strerror or error}", USAGE) from None


def _open(arguments: argparse.Namespace) -> "Store":
    from fastcore.lsm import Store

    if not Path(arguments.dir).is_dir():
        raise CommandError(f"{arguments.dir}: there is no such directory", USAGE)
    # Small segments, no reserve: what is only looked at shall take no room.
    return Store(arguments.dir, create_if_missing=False, segment_bytes=1 << 20, ballast=False)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def _key(text: str) -> bytes:
    try:
        return unescaped(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


# --- verify ----------------------------------------------------------------------------------------------------------


def _add_verify(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    examples = """\
  fastcore store verify /var/lib/app/store
  fastcore store verify /var/lib/app/store --json | jq '.problems[]'

Reads every block of every table, the manifest and the log, and changes nothing. Files that nothing refers to are no
damage: the store removes them when it is opened."""
    parser = _action(actions, "verify", "Look at every byte of a store and report all damage.", examples, _verify)
    _directory(parser)
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")


def _verify(arguments: argparse.Namespace) -> int:
    from fastcore.storecheck import verify

    with Progress("verify") as progress:
        report = verify(arguments.dir, progress=progress)
    if arguments.json:
        problems = [problem._asdict() for problem in report.problems]
        print(json.dumps({"sound": report.sound, **report._asdict(), "problems": problems}, indent=2))
    else:
        _print_check(arguments.dir, report)
    return OK if report.sound else FAILED


def _print_check(place: str, report: "CheckReport") -> None:
    harmful = [problem for problem in report.problems if problem.kind != "leftover"]
    leftovers = len(report.problems) - len(harmful)
    for problem in harmful[:PROBLEMS_SHOWN]:
        print(f"{problem.file}:{problem.offset}: {problem.what}")
    if report.damages > PROBLEMS_SHOWN:
        print(f"... and {report.damages - PROBLEMS_SHOWN:,} more; --json prints them")
    looked = (
        f"{_count(report.keyspaces, 'keyspace')}, {_count(report.tables, 'table')}, {report.entries:,} entries,"
        f" {_count(report.log_records, 'log record')}, {readable_bytes(report.bytes)}"
    )
    if report.log_torn_bytes:
        print(f"{report.log_torn_bytes:,} bytes at the log's end were being written when it stopped: no damage")
    if leftovers:
        print(f"{_count(leftovers, 'file')} that nothing refers to: no damage, removed when the store is opened")
    if report.sound:
        print(f"{place}: sound ({looked})")
    else:
        print(f"{place}: {_count(report.damages, 'problem')} ({looked})")
        print(WHAT_NEXT.format(dir=place))


# --- repair ----------------------------------------------------------------------------------------------------------


def _add_repair(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    examples = """\
  cp -a /var/lib/app/store /var/lib/app/store.before    if there is room: repair decides, and you can look again
  fastcore store repair /var/lib/app/store

Sound tables stay; of damaged ones the sound blocks are kept; a damaged log is read beyond the damage; a lost manifest
is made anew from the tables. What was damaged is moved to DIR/lost, and what could not be kept is listed with its keys.
A deletion that is lost may bring an older value back. Nothing is changed in a sound store."""
    parser = _action(actions, "repair", "Make a damaged store open again, with all that is sound.", examples, _repair)
    _directory(parser)
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")


def _repair(arguments: argparse.Namespace) -> int:
    from fastcore.storecheck import repair

    with Progress("repair") as progress:
        report = repair(arguments.dir, progress=progress)
    if arguments.json:
        losses = [
            {
                **loss._asdict(),
                "first": None if loss.first is None else json.loads(json_line(loss.first, b"")),
                "last": None if loss.last is None else json.loads(json_line(loss.last, b"")),
            }
            for loss in report.losses
        ]
        print(json.dumps({**report._asdict(), "losses": losses}, indent=2))
    else:
        _print_repair(arguments.dir, report)
    return FAILED if report.losses else OK


def _print_repair(place: str, report: "RepairReport") -> None:
    if not report.changed:
        print(f"{place}: nothing is damaged, nothing was changed")
        return
    done = [f"{_count(report.tables_sound, 'table')} sound"]
    done += [f"{_count(report.tables_salvaged, 'table')} salvaged"] if report.tables_salvaged else []
    done += [f"{_count(report.tables_lost, 'table')} lost"] if report.tables_lost else []
    done += [f"{_count(report.log_records, 'log record')} read into tables"] if report.log_records else []
    done += [f"{_count(report.keyspaces_rebuilt, 'keyspace')} merged anew"] if report.keyspaces_rebuilt else []
    done += ["the manifest made anew"] if report.manifest_lost else []
    done += ["a new log begun"] if report.log_replaced else []
    for loss in report.losses[:PROBLEMS_SHOWN]:
        print(f"lost: {loss.file}:{loss.offset}: {loss.what}{_range_of(loss.keyspace, loss.first, loss.last)}")
    if len(report.losses) > PROBLEMS_SHOWN:
        print(f"... and {len(report.losses) - PROBLEMS_SHOWN:,} more; --json prints them")
    print(f"{place}: repaired ({', '.join(done)})")
    if report.moved:
        moved = _count(len(report.moved), "file")
        print(f"{moved} moved to {Path(place) / 'lost'}: remove it when nobody misses anything")


def _range_of(keyspace: str | None, first: bytes | None, last: bytes | None) -> str:
    if first is None and last is None:
        return "" if keyspace is None else f"; keyspace {keyspace}, any keys"
    begin = "the first key" if first is None else repr(first)[1:]
    end = "the last key" if last is None else repr(last)[1:]
    return f"; keys from {begin} to {end}" + ("" if keyspace is None else f" of keyspace {keyspace}")


# --- stats -----------------------------------------------------------------------------------------------------------


def _add_stats(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    examples = """\
  fastcore store stats /var/lib/app/store
  fastcore store stats /var/lib/app/store --json | jq '.keyspaces.default.levels'"""
    parser = _action(actions, "stats", "Print keyspaces, levels and sizes of a store.", examples, _stats)
    _directory(parser)
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")


def _stats(arguments: argparse.Namespace) -> int:
    with _open(arguments) as store:
        stats = store.stats()
    print(json.dumps(_as_dict(stats), indent=2) if arguments.json else _table(stats))
    return OK


def _as_dict(value: object) -> object:
    """Named tuples inside each other as dictionaries."""
    if isinstance(value, dict):
        return {name: _as_dict(one) for name, one in value.items()}
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None)
        return dict(zip(fields, map(_as_dict, value), strict=True)) if fields else [_as_dict(one) for one in value]
    return value


def _table(stats: "StoreStats") -> str:
    rows: list[tuple[str, ...]] = [("keyspace", "level", "tables", "bytes", "entries", "deletions")]
    for name, keyspace in sorted(stats.keyspaces.items()):
        rows += _rows_of(name, keyspace)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    log = stats.log
    lines.append("")
    lines.append(
        f"log       {readable_bytes(log.end - log.first)} in use, {_count(log.records, 'record')} read on opening"
    )
    lines.append(f"manifest  {readable_bytes(stats.manifest_bytes)}")
    lines.append(f"sequence  {stats.sequence:,}")
    return "\n".join(line.rstrip() for line in lines)


def _rows_of(name: str, keyspace: "KeyspaceStats") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    if keyspace.memtable_entries:
        rows.append((name, "memory", "", readable_bytes(keyspace.memtable_bytes), f"{keyspace.memtable_entries:,}", ""))
    for i, level in enumerate(keyspace.levels):
        if level.tables:
            figures = (readable_bytes(level.bytes), f"{level.entries:,}", f"{level.deletes:,}")
            rows.append((name, str(i), f"{level.tables:,}", *figures))
    return rows or [(name, "empty", "", "", "", "")]


# --- dump ------------------------------------------------------------------------------------------------------------


def _add_dump(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    examples = r"""  fastcore store dump /var/lib/app/store --prefix user/ --limit 10
  fastcore store dump /var/lib/app/store --keyspace sessions --from a --to b
  fastcore store dump /var/lib/app/store --prefix '\x00\x01'      any byte, as the text format prints it
  fastcore store dump /var/lib/app/store --format json | jq -r .key

text: key, tab, value; what cannot be printed as \n, \r, \t, \\ and \xNN. json: a line for each, with "key" and "value",
or "key_base64" and "value_base64" where they are not UTF-8."""
    parser = _action(actions, "dump", "Print keys and values in order.", examples, _dump)
    _directory(parser)
    parser.add_argument("--keyspace", default="default", metavar="NAME", help="whose (default)")
    parser.add_argument("--prefix", type=_key, metavar="KEY", help="keys that begin so")
    parser.add_argument("--from", type=_key, dest="start", metavar="KEY", help="from this key on")
    parser.add_argument("--to", type=_key, dest="stop", metavar="KEY", help="before this key")
    parser.add_argument("--limit", type=_positive, metavar="N", help="at most so many")
    parser.add_argument("--reverse", action="store_true", help="the last one first")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text or json (text)")


def _dump(arguments: argparse.Namespace) -> int:
    from fastcore.lsm import KeyspaceError

    line = json_line if arguments.format == "json" else text_line
    if arguments.prefix is not None and (arguments.start is not None or arguments.stop is not None):
        raise CommandError("--prefix or --from and --to, not both", USAGE)
    with _open(arguments) as store:
        try:
            keyspace = store.keyspace(arguments.keyspace, create=False)
        except KeyspaceError:
            there = ", ".join(store.keyspaces())
            raise CommandError(
                f"{arguments.dir}: no keyspace {arguments.keyspace!r}; there are {there}", USAGE
            ) from None
        found = keyspace.scan(
            arguments.start,
            arguments.stop,
            prefix=arguments.prefix,
            reverse=arguments.reverse,
            limit=arguments.limit,
            fill_cache=False,
        )
        with found:
            for key, value in found:
                sys.stdout.write(line(key, value) + "\n")
    return OK


# --- copies ----------------------------------------------------------------------------------------------------------


def _add_checkpoint(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    examples = """\
  fastcore store checkpoint /var/lib/app/store /var/lib/app/yesterday

A store of its own that shares the tables' files (hard links) with this one: made at once, takes room only as the two go
different ways, must be on the same filesystem. It is no backup: bits that rot in one rot in both."""
    parser = _action(actions, "checkpoint", "Make a copy of a store by links.", examples, _checkpoint)
    _directory(parser)
    parser.add_argument("path", metavar="PATH", help="where nothing is yet, on the same filesystem")


def _checkpoint(arguments: argparse.Namespace) -> int:
    with _open(arguments) as store:
        store.checkpoint(arguments.path)
    print(f"{arguments.path}: a store with everything of {arguments.dir}")
    return OK


def _add_backup(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    examples = """\
  fastcore store backup /var/lib/app/store /mnt/backups/app            copies only what is not there yet
  fastcore store backup /var/lib/app/store /mnt/backups/app --keep 7   and removes all but the newest seven
  fastcore store backup --list /mnt/backups/app"""
    parser = _action(actions, "backup", "Back a store up, or list its backups.", examples, _backup)
    parser.add_argument("dir", metavar="DIR", nargs="?", help="the store's directory; not with --list")
    parser.add_argument("backups", metavar="BACKUPS", help="the folder of this store's backups, made if it is absent")
    parser.add_argument("--keep", type=_positive, metavar="N", help="afterwards, remove all but the newest N")
    parser.add_argument("--list", action="store_true", help="make none: list those that are there")


def _backup(arguments: argparse.Namespace) -> int:
    from fastcore.storebackup import backup, backups, purge

    if arguments.list:
        for made in backups(arguments.backups):
            when = datetime.datetime.fromtimestamp(made.created, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            print(f"{made.number:>6}  {when}  {readable_bytes(made.bytes):>7}  {_count(made.tables, 'table')}")
        return OK
    if arguments.dir is None:
        raise CommandError(
            "name the store's directory and the folder of backups: fastcore store backup DIR BACKUPS", USAGE
        )
    with _open(arguments) as store, Progress("backup") as progress:
        made = backup(store, arguments.backups, progress=progress)
    copied = f"{readable_bytes(made.copied_bytes)} in {_count(made.copied_tables, 'table')} copied"
    print(f"{arguments.backups}: backup {made.number} ({readable_bytes(made.bytes)}; {copied})")
    if arguments.keep and (gone := purge(arguments.backups, keep=arguments.keep)):
        print(f"removed: {', '.join(map(str, gone))}")
    return OK


def _add_restore(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    examples = """\
  fastcore store restore /mnt/backups/app /var/lib/app/store             the newest
  fastcore store restore /mnt/backups/app /var/lib/app/store --number 12

All of it is looked at before it gets its name, unless --no-verify is given."""
    parser = _action(actions, "restore", "Make a store of a backup.", examples, _restore)
    parser.add_argument("backups", metavar="BACKUPS", help="the folder of backups")
    parser.add_argument("path", metavar="PATH", help="where nothing is yet")
    parser.add_argument("--number", type=_positive, metavar="N", help="which one (the newest)")
    parser.add_argument("--no-verify", action="store_true", help="even if it is damaged: to repair it then")


def _restore(arguments: argparse.Namespace) -> int:
    from fastcore.storebackup import restore

    with Progress("restore") as progress:
        made = restore(
            arguments.backups, arguments.path, arguments.number, verify=not arguments.no_verify, progress=progress
        )
    print(f"{arguments.path}: restored from backup {made.number} ({readable_bytes(made.bytes)})")
    return OK
