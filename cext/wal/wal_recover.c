/* What a log finds of itself when it is opened: fc/wal.h tells how a torn tail differs from corruption. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fc/hash.h"
#include "wal_internal.h"

typedef struct bases {
    uint64_t *items;
    size_t n, room;
    int error;
} bases;

static int collect(void *ctx, const char *name)
{
    bases *b = ctx;
    uint64_t base;
    if (!wal_parse_name(name, &base))
        return 0;
    if (b->n == b->room) {
        size_t room = b->room ? 2 * b->room : 64;
        uint64_t *items = realloc(b->items, room * sizeof *items);
        if (items == NULL)
            return b->error = -ENOMEM;
        b->items = items;
        b->room = room;
    }
    b->items[b->n++] = base;
    return 0;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int corrupt(fc_wal *w, uint64_t base, uint64_t offset)
{
    wal_name(w->report.corrupt_name, base);
    w->report.corrupt_offset = offset;
    return FC_WAL_ECORRUPT;
}

/* What a segment says of itself. */
static int read_header(fc_wal *w, uint64_t base, wal_extent *e)
{
    char name[WAL_NAME], header[WAL_HEADER];
    fc_file *file;
    wal_name(name, base);
    int error = fc_disk_file(w->disk, name, FC_FILE_READ, &file);
    if (error < 0)
        return error;
    error = fc_file_read(file, header, sizeof header, 0);
    if (error == 0)
        error = wal_decode_segment(header, base, e);
    if (error == 0 && fc_file_size(file) < (int64_t)e->size)
        error = FC_DISK_SHORT;
    fc_file_close(file);
    return error == FC_DISK_SHORT || error == FC_WAL_ECORRUPT ? corrupt(w, base, 0) : error;
}

/* All segments, oldest first and without a hole between them. */
static int find_segments(fc_wal *w)
{
    bases found = {0};
    int error = fc_disk_list(w->disk, "", collect, &found);
    if (found.n)
        qsort(found.items, found.n, sizeof *found.items, ascending);
    for (size_t i = 0; i < found.n && error == 0; i++) {
        wal_extent e;
        const wal_extent *before = i > 0 ? &w->segments[i - 1].e : NULL;
        error = read_header(w, found.items[i], &e);
        if (error == 0 && before != NULL && before->base + before->size != e.base)
            error = corrupt(w, before->base, before->size);
        if (error == 0)
            error = wal_segment_add(w, e);
    }
    free(found.items);
    if (error == FC_WAL_ECORRUPT && w->segments_len > 0) /* can be read until a record is missing */
        w->durable = w->next = w->segments[w->segments_len - 1].e.base + w->segments[w->segments_len - 1].e.size;
    return error;
}

/* Room for a segment, used for one after the other: fresh memory for each is a fault for each page. */
typedef struct bytes {
    char *p;
    uint64_t room;
} bytes;

static int load(fc_wal *w, const wal_segment *s, bytes *out)
{
    char name[WAL_NAME];
    fc_file *file;
    wal_name(name, s->e.base);
    if (s->e.size > out->room) {
        free(out->p);
        out->p = malloc(s->e.size);
        out->room = out->p ? s->e.size : 0;
    }
    if (out->p == NULL)
        return -ENOMEM;
    int error = fc_disk_file(w->disk, name, FC_FILE_READ, &file);
    if (error == 0) {
        error = fc_file_read(file, out->p, s->e.size, 0);
        fc_file_close(file);
    }
    return error;
}

/* The first place at which no record of the log begins. */
typedef struct breach {
    size_t segment;
    uint64_t offset, position;
    uint64_t tail; /* end, in its segment, of the last record behind it that checks; offset when there is none */
} breach;

/* Looks behind the breach, in this segment from `offset`. */
static int look_behind(fc_wal *w, const wal_segment *s, const char *p, uint64_t offset, breach *b)
{
    bool same = s->e.base == w->segments[b->segment].e.base;
    for (; offset + WAL_RECORD <= s->e.size; offset += WAL_ALIGN) {
        wal_head head;
        if (p[offset + 12] == 0 || !wal_check(p + offset, s->e, offset, &head))
            continue;
        if (s->e.base + offset - head.batch > b->position) {
            w->durable = w->next = b->position;
            return corrupt(w, w->segments[b->segment].e.base, b->offset);
        }
        w->report.torn_bytes += wal_record_bytes(head.length);
        offset += wal_record_bytes(head.length) - WAL_ALIGN;
        if (same)
            b->tail = offset + WAL_ALIGN;
    }
    return 0;
}

/* Goes through the records. *b is where they end. */
static int find_end(fc_wal *w, bytes *room, breach *b)
{
    bool broken = false;
    for (size_t i = 0; i < w->segments_len; i++) {
        const wal_segment *s = &w->segments[i];
        uint64_t offset = WAL_HEADER;
        int error = load(w, s, room);
        if (error < 0)
            return error;
        const char *p = room->p;
        wal_head head = {0};
        while (!broken) {
            bool good = wal_check(p + offset, s->e, offset, &head);
            if (good && head.type == WAL_END && i + 1 < w->segments_len)
                break;
            if (!good || head.type == WAL_END) { /* an end mark without a next segment was never part of a whole batch */
                *b = (breach){i, offset, s->e.base + offset, offset};
                broken = true;
                if (!good && wal_peek(p + offset, s->e.salt, b->position, &head))
                    w->report.torn_bytes += WAL_RECORD;
                break;
            }
            w->report.records++;
            offset += wal_record_bytes(head.length);
        }
        if (broken)
            error = look_behind(w, s, p, b->segment == i ? offset : WAL_HEADER, b);
        if (error < 0)
            return error;
    }
    return 0;
}

/* After a kill, without a power cut, what was found may never have been synced; a record that is written next vouches for it. */
static int sync_all(fc_wal *w)
{
    int error = fc_disk_sync_dir(w->disk, "");
    for (size_t i = 0; i < w->segments_len && error == 0; i++) {
        char name[WAL_NAME];
        fc_file *file;
        wal_name(name, w->segments[i].e.base);
        error = fc_disk_file(w->disk, name, FC_FILE_WRITE, &file);
        if (error == 0) {
            error = fc_file_sync(file);
            fc_file_close(file);
        }
    }
    return error;
}

/* Later segments go, newest first, then what is left of the unfinished batch: one of its records, found again after new ones
 * had been written up to it, would come back to life. */
static int cut(fc_wal *w, const breach *b)
{
    char name[WAL_NAME];
    int error = 0;
    while (error == 0 && w->segments_len > b->segment + 1) {
        wal_name(name, w->segments[w->segments_len - 1].e.base);
        error = fc_disk_remove(w->disk, name);
        if (error == 0)
            error = fc_disk_sync_dir(w->disk, "");
        w->segments_len--;
    }
    const wal_segment *s = &w->segments[b->segment];
    uint64_t n = (b->tail > b->offset + WAL_RECORD ? b->tail : b->offset + WAL_RECORD) - b->offset;
    char *zeros = calloc(1, n);
    fc_file *file;
    wal_name(name, s->e.base);
    if (zeros == NULL)
        error = -ENOMEM;
    if (error == 0)
        error = fc_disk_file(w->disk, name, FC_FILE_WRITE, &file);
    if (error == 0) {
        error = fc_file_write(file, zeros, n, b->offset);
        if (error == 0)
            error = fc_file_sync(file);
        fc_file_close(file);
    }
    free(zeros);
    return error;
}

/* What another life was preparing is made anew, but for a ballast of the right size. */
static int clear_preparations(fc_wal *w)
{
    static const char *const names[] = {WAL_SPARE, WAL_NEXT};
    fc_file *file;
    for (size_t i = 0; i < FC_ARRAY_LEN(names); i++) {
        int error = fc_disk_remove(w->disk, names[i]);
        if (error < 0 && error != -ENOENT)
            return error;
    }
    int error = fc_disk_file(w->disk, WAL_BALLAST, FC_FILE_READ, &file);
    if (error < 0)
        return error == -ENOENT ? 0 : error;
    w->ballast = fc_file_size(file) == (int64_t)w->options.segment_bytes;
    fc_file_close(file);
    return w->ballast ? 0 : fc_disk_remove(w->disk, WAL_BALLAST);
}

/* The first segment of all: a disk that has no room for it says so now. */
static int begin(fc_wal *w)
{
    fc_file *file;
    w->e = (wal_extent){0, w->options.segment_bytes, (uint32_t)fc_hash_next(&w->salts)};
    w->claims = 1;
    w->durable = w->next = WAL_HEADER;
    return wal_segment_get(w, w->e, &file);
}

int wal_recover(fc_wal *w)
{
    breach end = {0};
    int error = find_segments(w);
    if (error == 0 && w->segments_len > 0) {
        bytes room = {0};
        error = find_end(w, &room, &end);
        free(room.p);
        if (error == 0)
            error = cut(w, &end);
        if (error == 0)
            error = sync_all(w);
        if (error == 0) {
            w->e = w->segments[end.segment].e;
            w->durable = w->next = end.position;
        }
    }
    if (error == 0)
        error = clear_preparations(w);
    return error == 0 && w->segments_len == 0 ? begin(w) : error;
}
