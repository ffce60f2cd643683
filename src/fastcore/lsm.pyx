# cython: binding=False, embedsignature=True, embedsignature.format=clinic
# Plain C methods, as in fastcore.cache: the interpreter calls those by the shortest way, which is a third of a get that
# finds its key in memory.

"""An ordered key-value store: keys and values are bytes, and what was acknowledged as durable is there after any crash.

    with Store("/var/lib/app/store") as store:
        store.put(b"key", b"value", durability="flushed")
        store.get(b"key")
        for key, value in store.scan(prefix=b"k"):
            ...

The calls are those of plyvel where it has them. Slow disks stop nobody else: in a thread that runs a gevent hub only the
calling greenlet waits, in any other the GIL is released; what is in memory is answered at once. C threads write tables and
merge them. docs/storage/store.md tells how it works.
"""

import errno
import itertools
import os
import shutil
import weakref
from collections import namedtuple
from types import GenericAlias

from greenlet import getcurrent

from fastcore.memtable import Memtable, MemtableFullError, MemtableScan
from fastcore.wal import LogError

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_GET_SIZE
from libc.math cimport ceil
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

cimport cython

from fastcore.disk cimport SimDisk
from fastcore.memtable cimport (FC_EWOULDREAD, FC_FOUND, FC_KEY_DELETE, FC_KEY_RANGE_DELETE, FC_KEY_VALUE, FC_VIEW_ESKIPPED,
                                bounds_of, bytes_of, fc_view_first, fc_view_last, fc_view_next, fc_view_prev, fc_view_seek,
                                fc_view_seek_back, prefix_end)
from fastcore.wal cimport current_hub, fc_wal_end, off_the_hub, report_of

__all__ = ["CacheStats", "ClosedError", "ConflictError", "CorruptionError", "DiskFullError", "Entry", "ExistsError", "ForkedError",
           "FormatError", "Iterator", "Keyspace", "KeyspaceError", "KeyspaceStats", "LevelStats", "LockedError", "Memtable",
           "MemtableFullError", "MemtableScan", "MissingError", "ReadOnlyError", "Reader", "Snapshot", "Store", "StoreError",
           "StoreStats", "TooLargeError", "WriteBatch", "Writer",
           "backups", "purge", "repair", "restore", "verify"]

include "lsm_errors.pxi"
include "lsm_wait.pxi"
include "lsm_read.pxi"
include "lsm_iterator.pxi"
include "lsm_batch.pxi"
include "lsm_write.pxi"
include "lsm_stats.pxi"
include "lsm_store.pxi"
include "lsm_operations.pxi"
