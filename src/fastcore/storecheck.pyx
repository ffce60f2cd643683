"""Is everything of a store as it was written, and what to do when it is not.

    report = verify("/var/lib/app/store")       # nobody has it open
    if not report.sound:
        for problem in report.problems:
            print(problem.file, problem.offset, problem.what)
        report = repair("/var/lib/app/store")   # opens again; what was damaged lies in lost/

`Store.verify()` looks at the tables of a store that is open. docs/storage/operations.md says what repair can bring back.
"""

import errno
import os
from collections import namedtuple

from fastcore import lsm

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

cimport cython

from fastcore.disk cimport Disk, fc_disk
from fastcore.lsm cimport (FC_STORE_ECORRUPT, FC_STORE_EFORMAT, FC_STORE_ELOCKED, FC_STORE_EMISSING, Core, Store, fc_damage,
                           fc_store, fc_store_strerror)
from fastcore.wal cimport fc_slice, off_the_hub

__all__ = ["CheckReport", "Loss", "Problem", "RepairReport", "repair", "verify"]

cdef extern from "fc/clock.h" nogil:
    uint64_t fc_monotonic_ns()

cdef extern from "fc/table.h" nogil:
    enum:
        FC_TABLE_ECODEC

cdef extern from "fc/store_check.h" nogil:
    enum:
        FC_PROBLEM_DAMAGE
        FC_PROBLEM_MISSING
        FC_PROBLEM_UNREADABLE
        FC_PROBLEM_LEFTOVER
    ctypedef struct fc_problem:
        int kind
        fc_damage damage
    ctypedef struct fc_store_check:
        pass
    ctypedef struct fc_store_check_report:
        uint64_t bytes_done, bytes, keyspaces, tables, blocks, entries, log_records, log_torn_bytes
        uint64_t damages, missing, unreadable, leftovers
        bint manifest
    int fc_store_check_open(fc_disk *disk, fc_store_check **out)
    int fc_store_check_live(fc_store *s, fc_store_check **out)
    int fc_store_check_step(fc_store_check *c)
    void fc_store_check_get_report(const fc_store_check *c, fc_store_check_report *out)
    size_t fc_store_check_problems(const fc_store_check *c, const fc_problem **out)
    void fc_store_check_close(fc_store_check *c)
    ctypedef struct fc_store_repair:
        pass
    ctypedef struct fc_store_loss:
        fc_damage damage
        uint64_t bytes
        uint32_t keyspace
        bint keyspace_known, from_known, to_known
        fc_slice first "from", last "to"
    ctypedef struct fc_store_repair_report:
        uint64_t bytes_done, bytes, tables_sound, tables_salvaged, tables_lost, tables_written, entries_salvaged
        uint64_t log_records, keyspaces_rebuilt, bytes_lost
        bint changed, manifest_lost, log_replaced
    int fc_store_repair_open(fc_disk *disk, fc_store_repair **out)
    int fc_store_repair_step(fc_store_repair *r)
    void fc_store_repair_get_report(const fc_store_repair *r, fc_store_repair_report *out)
    size_t fc_store_repair_losses(const fc_store_repair *r, const fc_store_loss **out)
    bint fc_store_repair_keyspace(const fc_store_repair *r, uint32_t id, fc_slice *name)
    size_t fc_store_repair_moved(const fc_store_repair *r, const char *const **out)
    void fc_store_repair_close(fc_store_repair *r)

Problem = namedtuple("Problem", ["kind", "file", "offset", "what"])
Problem.__doc__ = """Something that was found: what it is, in which file, where in it.

kind: "damage", bytes that are not what was written; "missing", a file that ought to be there; "unreadable", not to be judged
on this machine; "leftover", a file that nothing refers to, which is no harm."""

_CheckReport = namedtuple("_CheckReport", ["bytes", "keyspaces", "tables", "blocks", "entries", "log_records", "log_torn_bytes",
                                           "manifest", "damages", "problems"])


class CheckReport(_CheckReport):
    """What was looked at, and what was found.

    log_torn_bytes: of records that were not durable when power went: nobody was told that they are there.
    manifest: whether the tables could be looked at against what it says of them.
    damages: how many problems are no leftovers; problems has the first 65,536 of all."""

    __slots__ = ()

    @property
    def sound(self):
        """Nothing is damaged, missing or unreadable."""
        return self.damages == 0


Loss = namedtuple("Loss", ["file", "offset", "bytes", "what", "keyspace", "first", "last"])
Loss.__doc__ = """Something that could not be brought back. Lost keys are not outside [first, last]; None: not known.

keyspace: its name; None: not known, or of the log, which is all keyspaces'."""

RepairReport = namedtuple("RepairReport", [
    "changed", "tables_sound", "tables_salvaged", "tables_lost", "entries_salvaged", "log_records", "keyspaces_rebuilt",
    "bytes_lost", "manifest_lost", "log_replaced", "losses", "moved"])
RepairReport.__doc__ = """What was done.

changed: False when there was nothing to repair. tables_salvaged: damaged ones whose sound blocks are in a new table.
log_records: read from the log into tables. keyspaces_rebuilt: whose tables were all merged anew.
moved: where the files are that were damaged or replaced, in the store's folder."""

cdef dict PROBLEMS = {FC_PROBLEM_DAMAGE: "damage", FC_PROBLEM_MISSING: "missing", FC_PROBLEM_UNREADABLE: "unreadable",
                      FC_PROBLEM_LEFTOVER: "leftover"}

# How long the GIL is let go of between two looks at signals and calls of `progress`.
cdef uint64_t TURN_NS = 50_000_000


cdef object error_of(int error, object place):
    if error == -errno.ENOMEM:
        return MemoryError()
    text = fc_store_strerror(error).decode()
    if error == FC_STORE_ELOCKED:
        return lsm.LockedError(errno.EBUSY, f"{text}; close it there first", place)
    if error == FC_STORE_EMISSING:
        return lsm.MissingError(errno.ENOENT, text, place)
    if error == FC_STORE_EFORMAT:
        return lsm.FormatError(errno.EBADMSG, text, place)
    if error == -errno.ENOSPC:
        return lsm.DiskFullError(errno.ENOSPC, f"{text}: repair needs about as much room as the damaged tables take", place)
    return lsm.StoreError(-error if -200 < error < 0 else errno.EIO, text, place)


cdef object place_of(Disk disk):
    return "a simulated disk" if disk.path is None else os.fsdecode(disk.path)


cdef object key_of(fc_slice s, bint known):
    return PyBytes_FromStringAndSize(s.p, s.n) if known else None


# --- checking --------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class Check:
    cdef fc_store_check *c
    cdef Disk disk
    cdef Core core   # of a store that is open

    def __dealloc__(self):
        if self.c != NULL:
            fc_store_check_close(self.c)

    cdef int open(self):
        cdef fc_disk *d
        if self.core is not None:
            return fc_store_check_live(self.core.use(), &self.c)
        d = self.disk.handle()
        with nogil:
            return fc_store_check_open(d, &self.c)

    cdef int turn(self):
        cdef int answer = 1
        cdef uint64_t until
        with nogil:
            until = fc_monotonic_ns() + TURN_NS
            while answer == 1 and fc_monotonic_ns() < until:
                answer = fc_store_check_step(self.c)
        return answer

    cdef object report(self):
        cdef fc_store_check_report r
        cdef const fc_problem *p
        cdef size_t i, n = fc_store_check_problems(self.c, &p)
        fc_store_check_get_report(self.c, &r)
        problems = tuple([Problem(PROBLEMS[p[i].kind], os.fsdecode(p[i].damage.name), p[i].damage.offset,
                                  p[i].damage.what.decode()) for i in range(n)])
        return CheckReport(r.bytes, r.keyspaces, r.tables, r.blocks, r.entries, r.log_records, r.log_torn_bytes,
                           bool(r.manifest), r.damages + r.missing + r.unreadable, problems)


def verify(where, *, progress=None):
    """Look at everything of a store and report every problem, a CheckReport. Nothing is changed.

    where: the directory of a store that nobody has open, or a Disk (LockedError, MissingError); or a Store: the tables it
    consists of now, while it works on.
    progress: called with bytes that have been looked at, and bytes in all, some times a second. What it raises ends the look."""
    cdef Check check = Check.__new__(Check)
    cdef fc_store_check_report r
    cdef int answer
    cdef bint own = False
    if isinstance(where, lsm.Store):
        check.core = (<Store>where).core
        check.core.use()
        check.disk = check.core.disk
    else:
        own = not isinstance(where, Disk)
        check.disk = open_disk(where) if own else where
    try:
        answer = off_the_hub(True, lambda: check.open())
        if answer == 0:
            answer = 1
        while answer == 1:
            answer = off_the_hub(True, lambda: check.turn())
            PyErr_CheckSignals()
            if progress is not None and answer >= 0:
                fc_store_check_get_report(check.c, &r)
                progress(r.bytes_done, r.bytes)
        if answer < 0:
            raise error_of(answer, place_of(check.disk))
        return check.report()
    finally:
        if check.c != NULL:
            fc_store_check_close(check.c)
            check.c = NULL
        if own:
            check.disk.close()


cdef Disk open_disk(object where):
    try:
        return Disk(where, create=False)
    except FileNotFoundError:
        raise error_of(FC_STORE_EMISSING, os.fsdecode(where)) from None


# --- repairing -------------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc_clear
cdef class Repair:
    cdef fc_store_repair *r
    cdef Disk disk

    def __dealloc__(self):
        if self.r != NULL:
            fc_store_repair_close(self.r)

    cdef int open(self):
        cdef fc_disk *d = self.disk.handle()
        with nogil:
            return fc_store_repair_open(d, &self.r)

    cdef int turn(self):
        cdef int answer = 1
        cdef uint64_t until
        with nogil:
            until = fc_monotonic_ns() + TURN_NS
            while answer == 1 and fc_monotonic_ns() < until:
                answer = fc_store_repair_step(self.r)
        return answer

    cdef object name_of(self, const fc_store_loss *l):
        cdef fc_slice name
        if not l.keyspace_known:
            return None
        if not fc_store_repair_keyspace(self.r, l.keyspace, &name):
            return None
        return name.p[:name.n].decode(errors="replace")

    cdef object report(self):
        cdef fc_store_repair_report r
        cdef const fc_store_loss *l
        cdef const char *const *moved
        cdef size_t i, n = fc_store_repair_losses(self.r, &l)
        fc_store_repair_get_report(self.r, &r)
        losses = tuple([Loss(os.fsdecode(l[i].damage.name), l[i].damage.offset, l[i].bytes, l[i].damage.what.decode(),
                             self.name_of(&l[i]), key_of(l[i].first, l[i].from_known), key_of(l[i].last, l[i].to_known))
                        for i in range(n)])
        n = fc_store_repair_moved(self.r, &moved)
        names = tuple([os.fsdecode(moved[i]) for i in range(n)])
        return RepairReport(bool(r.changed), r.tables_sound, r.tables_salvaged, r.tables_lost, r.entries_salvaged, r.log_records,
                            r.keyspaces_rebuilt, r.bytes_lost, bool(r.manifest_lost), bool(r.log_replaced), losses, names)


def repair(where, *, progress=None):
    """Make a damaged store one that opens again: a RepairReport. A store in which nothing is damaged is not changed.

    where: its directory, or a Disk; nobody has it open (LockedError). Files that were damaged are moved into its folder
    "lost", never removed. Needs about as much room as the damaged tables take, all of them if the manifest is damaged.
    progress: as for verify(). What it raises ends the repair, and the store is as it was."""
    cdef Repair work = Repair.__new__(Repair)
    cdef fc_store_repair_report r
    cdef int answer
    cdef bint own = not isinstance(where, Disk)
    work.disk = open_disk(where) if own else where
    try:
        answer = off_the_hub(True, lambda: work.open())
        if answer == 0:
            answer = 1
        while answer == 1:
            answer = off_the_hub(True, lambda: work.turn())
            PyErr_CheckSignals()
            if progress is not None and answer >= 0:
                fc_store_repair_get_report(work.r, &r)
                progress(r.bytes_done, r.bytes)
        if answer == FC_TABLE_ECODEC:
            raise lsm.StoreError(errno.ENOTSUP, "a table is compressed by a library that is not on this machine: install lz4 or "
                                 "zstd (liblz4.so.1, libzstd.so.1), then repair", place_of(work.disk))
        if answer < 0:
            raise error_of(answer, place_of(work.disk))
        return work.report()
    finally:
        if work.r != NULL:
            fc_store_repair_close(work.r)
            work.r = NULL
        if own:
            work.disk.close()
