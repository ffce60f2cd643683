# The store as a whole: opening, keyspaces, checkpoints, closing.

cdef dict CODECS = {None: FC_CODEC_NONE, "lz4": FC_CODEC_LZ4, "zstd": FC_CODEC_ZSTD}
CODEC_NAMES = ", ".join(repr(name) for name in CODECS)
KEYSPACE_OPTIONS = ("memtable_bytes", "memtables_max", "table_bytes", "level0_tables", "level_bytes", "level_factor",
                    "block_bytes", "restart_interval", "filter_bits", "compression")

# A checkpoint is made in the store's own directory, where links to its tables can be, and then moved out. What a crash left
# there goes when the store is opened.
LEAVING = "checkpoint.leaving-"
leaving = itertools.count()


cdef uint64_t natural(object value, str what, uint64_t bound) except? 0:
    if not 0 <= value <= bound:
        raise ValueError(f"{what} is {value}; it is 0 to {bound}")
    return value


cdef int keyspace_options(fc_keyspace_options *o, dict given) except -1:
    """Those that are given, into o."""
    for name, value in given.items():
        if name == "memtable_bytes":
            o.memtable_bytes = natural(value, name, 1 << 40)
        elif name == "memtables_max":
            o.memtables_max = natural(value, name, 1 << 16)
        elif name == "table_bytes":
            o.table_bytes = natural(value, name, 1 << 40)
        elif name == "level0_tables":
            o.level0_tables = natural(value, name, 1 << 16)
        elif name == "level_bytes":
            o.level_bytes = natural(value, name, 1 << 50)
        elif name == "level_factor":
            o.level_factor = natural(value, name, 1 << 16)
        elif name == "block_bytes":
            o.block_bytes = natural(value, name, 1 << 30)
        elif name == "restart_interval":
            o.restart_interval = natural(value, name, 1 << 16)
        elif name == "filter_bits":
            o.filter_bits = natural(value, name, 1 << 16)
        elif name == "compression":
            if value not in CODECS:
                raise ValueError(f"compression is {value!r}; it is one of {CODEC_NAMES}")
            o.codec = CODECS[value]
        else:
            raise TypeError(f"{name!r} is no option of a keyspace; those are {', '.join(KEYSPACE_OPTIONS)}")
    return 0


cdef bytes keyspace_name(object name):
    if not isinstance(name, str):
        raise TypeError(f"the name of a keyspace is a str, not {type(name).__name__}")
    cdef bytes encoded = name.encode()
    if not 1 <= len(encoded) <= FC_KEYSPACE_NAME_MAX:
        raise ValueError(f"the name of a keyspace has 1 to {FC_KEYSPACE_NAME_MAX} bytes in UTF-8, not {len(encoded)}")
    return encoded


@cython.final
@cython.no_gc_clear
cdef class Store(Writer):
    """An ordered key-value store in the directory `where`, or on a Disk.

    create_if_missing, error_if_exists: whether to make one; whether it must be new.
    cache_bytes: of blocks of tables in memory, for all keyspaces.
    log_bytes_max: of log that is kept; beyond it tables are written so that it can be given up.
    segment_bytes, buffer_bytes_max, ballast: the log's, see fastcore.wal.Log.
    threaded: None is True but for a SimDisk. Without threads whoever waits does the work, and step() does.
    clock: seconds since 1970, as time.time, for what expires; a test's.
    Others are options of the keyspace "default", whose calls are the store's own, and of keyspaces made without options:
    memtable_bytes, memtables_max, table_bytes, level0_tables, level_bytes, level_factor, block_bytes, restart_interval,
    filter_bits, compression (None, "lz4", "zstd").

    Raises LockedError, MissingError, ExistsError, FormatError, CorruptionError, DiskFullError, StoreError.

    Any thread and greenlet may call anything. A forked child must not use it: every call raises ForkedError."""

    def __cinit__(self):
        self.core = Core.__new__(Core)
        self.waits = Waits.__new__(Waits)
        self.waits.core = self.core
        self.name = "default"

    def __init__(self, where, *, bint create_if_missing=True, bint error_if_exists=False, cache_bytes=64 << 20,
                 log_bytes_max=1 << 30, segment_bytes=64 << 20, buffer_bytes_max=None, bint ballast=True, threaded=None,
                 clock=None, **options):
        cdef fc_store_options o = FC_STORE_OPTIONS
        cdef fc_damage damage
        cdef Core core = self.core
        cdef int error
        if core.s != NULL:
            raise RuntimeError("the store is open already")
        for name, value in (("segment_bytes", segment_bytes), ("buffer_bytes_max", buffer_bytes_max)):
            if value is not None and not 0 < value <= 1 << 30:
                raise ValueError(f"{name} is {value}; it is 1 to 2**30")
        o.create = create_if_missing
        o.must_create = error_if_exists
        o.cache_bytes = natural(cache_bytes, "cache_bytes", 1 << 50)
        o.log_bytes_max = natural(log_bytes_max, "log_bytes_max", 1 << 50)
        o.log.segment_bytes = segment_bytes
        o.log.record_bytes_max = min(16 << 20, segment_bytes // 4)
        o.log.buffer_bytes_max = min(32 << 20, segment_bytes // 2) if buffer_bytes_max is None else buffer_bytes_max
        o.log.ballast = ballast
        keyspace_options(&o.defaults, options)
        self.own_disk = not isinstance(where, Disk)
        core.disk = Disk(where, create=create_if_missing) if self.own_disk else where
        core.threaded = o.threaded = not isinstance(where, SimDisk) if threaded is None else threaded
        if isinstance(where, SimDisk) and not o.threaded:
            o.seed = (<SimDisk>where).stream()
            o.log.salt_seed = (<SimDisk>where).stream()
        if clock is not None:
            core.clock = clock
            core.clock_ms = <uint64_t>(clock() * 1000)
            o.now_ms = read_clock
            o.now_ctx = &core.clock_ms
        core.generation = generation
        core.place = "a simulated disk" if core.disk.path is None else os.fsdecode(core.disk.path)
        damage.name[0] = 0
        damage.offset = 0
        damage.what = NULL
        cdef fc_disk *d = core.disk.handle()
        error = off_the_hub(core.threaded, lambda: open_swept(core, d, &o, &damage))
        if error < 0:
            if self.own_disk:
                core.disk.close()
            if error == -errno.EINVAL:
                raise ValueError("the options do not fit each other or their bounds, see fc/store.h; segment_bytes is 4 KiB to "
                                 "1 GiB and a multiple of 8")
            if error == FC_STORE_ECORRUPT and damage.name[0] != 0:
                raise damage_error(&damage, core.place)
            raise error_of(error, core.place)
        self.waits.log = Log.__new__(Log)
        self.waits.log.core.w = fc_store_log(core.s)
        self.waits.log.core.owner = core
        self.waits.log.core.generation = core.generation
        self.waits.log.core.threaded = core.threaded
        self.waits.log.core.place = core.place

    # --- keyspaces

    def keyspace(self, name, *, bint create=True, **options):
        """The Keyspace of that name: keys of their own under the same log, so that a batch may write to several. Made if it is
        not there, unless create is False (KeyspaceError). Options that are given become the keyspace's, for new tables."""
        cdef Keyspace made = Keyspace.__new__(Keyspace)
        cdef fc_keyspace_options o = FC_KEYSPACE_OPTIONS
        cdef bytes encoded = keyspace_name(name)
        cdef Core core = self.core
        cdef uint32_t id = 0
        cdef int error
        core.use()
        keyspace_options(&o, options)
        error = off_the_hub(core.threaded, lambda: find_keyspace(core, encoded, &o if options else NULL, create, &id))
        if error == -errno.EINVAL:
            raise ValueError("the options do not fit each other or their bounds, see fc/store.h")
        if error == FC_STORE_ENOKEYSPACE:
            raise KeyspaceError(errno.ENOENT, f"there is no keyspace {name!r}; there are {', '.join(self.keyspaces())}", core.place)
        if error < 0:
            core.fail(error)
        self.copy_to(made)
        made.id = id
        made.name = name
        return made

    def keyspaces(self):
        """Their names, sorted."""
        return [name for name, _ in keyspaces_of(self.core)]

    def drop_keyspace(self, name):
        """It and all that is in it is gone when this returns, for good. Its objects raise KeyspaceError from then on."""
        cdef Core core = self.core
        cdef Keyspace found = self.keyspace(name, create=False)
        cdef int error
        if found.id == 0:
            raise ValueError("the keyspace 'default' cannot be dropped; delete_range() empties it")
        error = off_the_hub(core.threaded, lambda: drop(core, found.id))
        if error < 0:
            core.fail(error)

    # --- upkeep

    def sync(self, timeout=None):
        """Until everything that has been written is durable. timeout: seconds, then TimeoutError."""
        cdef fc_store *s = self.core.use()
        self.waits.durable(fc_wal_end(fc_store_log(s)), timeout)

    def checkpoint(self, path):
        """A store of its own at path, with everything that has been written: links to the tables, so that it costs little and
        takes hardly any room until the tables here are merged away. Whole and durable when this returns.

        path: on the filesystem of the store, where nothing is yet. Of a store on a simulated disk it is a folder of that."""
        cdef Core core = self.core
        core.use()
        if core.disk.path is None:
            folder = os.fsencode(path)
            if b"/" in folder or not folder:
                raise ValueError(f"{path!r}: on a simulated disk a checkpoint is a folder's name")
            error = off_the_hub(core.threaded, lambda: make_checkpoint(core, folder))
        else:
            error = off_the_hub(core.threaded, lambda: checkpoint_outside(core, os.path.abspath(os.fsdecode(path))))
        if isinstance(error, BaseException):
            raise error
        if error < 0:
            core.fail(error)

    def backup(self, path, *, progress=None):
        """Back up everything that has been written so far into the folder path, which is this store's alone and may be on any
        filesystem; tables that are there from earlier ones are not copied again. A fastcore.storebackup.Backup.

        progress: called with bytes copied and bytes to copy, from gevent's pool of threads where that runs a hub."""
        from fastcore import storebackup
        self.core.use()
        return off_the_hub(self.core.threaded, lambda: storebackup.backup(self, path, progress=progress))

    def verify(self, *, progress=None):
        """Look at every block of the tables there are now, while the store works on: a fastcore.storecheck.CheckReport."""
        from fastcore import storecheck
        return storecheck.verify(self, progress=progress)

    def step(self):
        """Of a store without threads: the background's next piece of work. False when there is none."""
        cdef fc_store *s = self.core.use()
        cdef int error
        if self.core.threaded:
            raise RuntimeError("the store has threads that do its work")
        with nogil:
            error = fc_store_step(s)
        if error < 0:
            self.core.fail(error)
        return error > 0

    def stats(self):
        """StoreStats."""
        return store_stats(self.core)

    @property
    def error(self):
        """The ReadOnlyError that the store answers to writes since one has failed; None while all is well."""
        cdef int error = fc_store_error(self.core.use())
        return None if error == 0 else self.core.exception(error)

    @property
    def path(self):
        """Where it is; None on a simulated disk."""
        return None if self.core.disk is None else self.core.disk.path

    def close(self):
        """Make everything durable that was written and let go of the directory. Whoever waits gets an answer. Raises the error
        that kept something from becoming durable; closed it is all the same. A forked child lets go of nothing."""
        cdef Core core = self.core
        if core.closed or core.s == NULL:
            return
        core.closed = True
        self.waits.log.core.closed = True
        if core.generation != generation:
            return
        error = off_the_hub(core.threaded, lambda: stop(core))
        if self.own_disk:
            core.disk.close()
        if error < 0:
            core.fail(error)

    def __enter__(self):
        self.core.use()
        return self

    def __exit__(self, *exc):
        self.close()

    def __repr__(self):
        return f"<fastcore.lsm.Store {'closed' if self.closed else self.core.place}>"


# What may wait for the disk, for a thread of gevent's pool. Errors are answered.

cdef int open_swept(Core core, fc_disk *d, fc_store_options *options, fc_damage *damage):
    cdef int error = core.open(d, options, damage)
    if error == 0 and core.disk.path is not None:
        for name in os.listdir(core.place):
            if name.startswith(LEAVING):
                shutil.rmtree(os.path.join(core.place, name), ignore_errors=True)
    return error


cdef int stop(Core core):
    cdef int error
    with nogil:
        error = fc_store_stop(core.s)
    return error


cdef int find_keyspace(Core core, bytes name, const fc_keyspace_options *options, bint create, uint32_t *id):
    cdef fc_slice slice = slice_of(name)
    cdef int error
    with nogil:
        error = fc_store_keyspace(core.s, slice, options, create, id)
    return error


cdef int drop(Core core, uint32_t id):
    cdef int error
    with nogil:
        error = fc_store_drop(core.s, id)
    return error


cdef int make_checkpoint(Core core, bytes folder):
    cdef const char *name = folder
    cdef int error
    with nogil:
        error = fc_store_checkpoint(core.s, name)
    return error


cdef object checkpoint_outside(Core core, str path):
    """0, an error of the store, or an exception."""
    cdef str folder = f"{LEAVING}{next(leaving)}"
    cdef str inside = os.path.join(os.path.abspath(core.place), folder)
    cdef str parent = os.path.dirname(path)
    cdef int error
    try:
        if os.path.lexists(path):
            return ExistsError(errno.EEXIST, "there is something already; a checkpoint is made where nothing is", path)
        if os.stat(parent).st_dev != os.stat(core.place).st_dev:
            return StoreError(errno.EXDEV, "the checkpoint would be on another filesystem than the store, where links cannot go; "
                              "make it beside the store, or use backup()", path)
        error = make_checkpoint(core, folder.encode())
        if error < 0:
            return error
        try:
            os.rename(inside, path)
        except BaseException:
            shutil.rmtree(inside, ignore_errors=True)
            raise
        sync_folder(parent)
        sync_folder(core.place)
    except OSError as failure:
        return StoreError(failure.errno, f"no checkpoint was made: {failure.strerror}", path)
    except BaseException as failure:
        return failure
    return 0


cdef object sync_folder(str path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
