# What a store tells of itself.

LevelStats = namedtuple("LevelStats", ["tables", "bytes", "entries", "deletes"])
LevelStats.__doc__ = "The tables of one level; entries are versions of keys, of which so many are deletions."

KeyspaceStats = namedtuple("KeyspaceStats", [
    "levels", "memtables", "memtable_bytes", "memtable_entries", "table_memory", "debt_bytes", "flushes", "flushed_bytes",
    "compactions", "compacted_read_bytes", "compacted_written_bytes", "moved_tables"])
KeyspaceStats.__doc__ = """One keyspace.

levels: LevelStats of each. memtables, memtable_bytes, memtable_entries: what is not in tables yet. table_memory: indexes and
filters of open tables. debt_bytes: what compaction has still to write. The others count since the store was opened;
moved_tables went down a level without being written anew."""

CacheStats = namedtuple("CacheStats", ["bytes", "blocks", "hits", "misses", "inserted", "evicted", "returned"])
CacheStats.__doc__ = "The block cache. returned: blocks that were evicted and soon wanted again."

StoreStats = namedtuple("StoreStats", [
    "sequence", "snapshots", "oldest_snapshot", "writes", "operations", "written_bytes", "gets", "delayed_seconds", "busy",
    "manifest_bytes", "log", "cache", "keyspaces"])
StoreStats.__doc__ = """A store, since it was opened.

sequence: the number of the last operation. snapshots: that are open, and the sequence of the oldest. writes: batches of all
kinds, with so many operations and bytes of keys and values. delayed_seconds: by which writers were slowed to pay for
compaction. busy: how often one had to wait for room. log: fastcore.wal.LogReport; log.syncs / writes is what a durable
write cost. cache: CacheStats. keyspaces: KeyspaceStats of each, by name."""


cdef object keyspace_stats(Core core, uint32_t id):
    cdef fc_keyspace_stats k
    cdef int error = fc_store_get_keyspace_stats(core.use(), id, &k)
    cdef int i
    if error < 0:
        core.fail(error)
    levels = tuple([LevelStats(k.levels[i].tables, k.levels[i].bytes, k.levels[i].entries, k.levels[i].deletes)
                    for i in range(FC_STORE_LEVELS)])
    return KeyspaceStats(levels, k.memtables, k.memtable_bytes, k.memtable_entries, k.table_memory, k.debt_bytes, k.flushes,
                         k.flushed_bytes, k.compactions, k.compacted_read_bytes, k.compacted_written_bytes, k.moved_tables)


cdef void note_keyspace(void *ctx, uint32_t id, fc_slice name) noexcept:
    try:
        (<list>ctx).append((PyBytes_FromStringAndSize(name.p, name.n).decode(errors="backslashreplace"), id))
    except MemoryError:
        pass


cdef list keyspaces_of(Core core):
    """(name, id) of each, by name."""
    cdef list found = []
    fc_store_keyspaces(core.use(), note_keyspace, <void *>found)
    found.sort()
    return found


cdef object store_stats(Core core):
    cdef fc_store_stats s
    fc_store_get_stats(core.use(), &s)
    log = report_of(fc_store_log(core.s))
    cache = CacheStats(s.cache.bytes, s.cache.blocks, s.cache.hits, s.cache.misses, s.cache.inserted, s.cache.evicted,
                       s.cache.returned)
    keyspaces = {name: keyspace_stats(core, id) for name, id in keyspaces_of(core)}
    return StoreStats(s.last_seq, s.snapshots, s.oldest_snapshot, s.writes, s.operations, s.written_bytes, s.gets,
                      s.delayed_ns / 1e9, s.busy, s.manifest_bytes, log, cache, keyspaces)
