# What can go wrong with a store.

class StoreError(OSError):
    """What went wrong with a store: `errno`, `strerror`, and the place as `filename`."""


class CorruptionError(StoreError):
    """Something that had been durable is damaged: `file`, `offset` in it, `what` is wrong there."""

    file = None
    offset = None
    what = None


class ReadOnlyError(StoreError):
    """A write or a sync has failed, and nobody knows what is on the disk: nothing is written any more, what is there can be
    read. Close the store, see to the disk, open it anew: everything that was durable is there."""


class DiskFullError(StoreError):
    """There is no room. Nothing is lost: deletions have a reserve, and writing works again when there is room."""


class LockedError(StoreError):
    """The store is open already, here or in another process."""


class FormatError(StoreError):
    """The files are not a store's, or of a later version."""


class MissingError(StoreError):
    """There is no store, and none was to be made."""


class ExistsError(StoreError):
    """There is one already."""


class ConflictError(StoreError):
    """An expectation of the batch does not hold, and nothing was written: `key` is whose."""

    key = None


class TooLargeError(StoreError, ValueError):
    """A key, a value or a batch is larger than allowed."""


class KeyspaceError(StoreError, LookupError):
    """There is no such keyspace."""


class ClosedError(StoreError, ValueError):
    """The store, snapshot or iterator is closed."""


class ForkedError(StoreError, RuntimeError):
    """A store belongs to the process that opened it, and this is a forked child."""


cdef dict KINDS = {
    FC_STORE_ECORRUPT: (CorruptionError, errno.EBADMSG, "run verify, then repair or restore a backup"),
    FC_STORE_EFORMAT: (FormatError, errno.EBADMSG, "give the path of a store, or of an empty directory"),
    FC_STORE_ELOCKED: (LockedError, errno.EBUSY, "one store has one opener: close it there, or open a checkpoint of it"),
    FC_STORE_ECLOSED: (ClosedError, errno.EBADF, "open it anew"),
    FC_STORE_EBUSY: (StoreError, errno.EAGAIN, "try again"),
    FC_STORE_ECONFLICT: (ConflictError, errno.ECANCELED, "read the key again and decide anew"),
    FC_STORE_ESIZE: (TooLargeError, errno.EMSGSIZE, "split it"),
    FC_STORE_ENOKEYSPACE: (KeyspaceError, errno.ENOENT, "it was dropped, or keyspace() was called with create=False"),
    FC_STORE_EMISSING: (MissingError, errno.ENOENT, "open it with create_if_missing=True to make one"),
    FC_STORE_EEXISTS: (ExistsError, errno.EEXIST, "choose another name, or open it with error_if_exists=False"),
    -errno.ENOSPC: (DiskFullError, errno.ENOSPC, "free some space; deletions still work"),
}


cdef object damage_error(const fc_damage *damage, object place):
    file, what = os.fsdecode(damage.name), damage.what.decode() if damage.what != NULL else "it does not check"
    made = CorruptionError(errno.EBADMSG, f"{file} is damaged at offset {damage.offset}: {what}; run verify, then repair or "
                           "restore a backup", place)
    made.file, made.offset, made.what = file, damage.offset, what
    return made


cdef object error_of(int error, str place):
    """The exception for an error that is neither damage nor a store's failure for good."""
    if error == -errno.ENOMEM:
        return MemoryError()
    kind, number, advice = KINDS.get(error, (StoreError, -error, None))
    text = fc_store_strerror(error).decode()
    return kind(number, text if advice is None else f"{text}; {advice}", place)
