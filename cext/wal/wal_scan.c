/* A log looked at from outside: fc/wal_scan.h. */
#include "fc/wal_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fc/crc32c.h"
#include "wal_format.h"

struct fc_wal_scan {
    fc_disk *disk;
    wal_extent *segments; /* oldest first; size 0 until looked at */
    uint64_t *file_bytes;
    size_t n, room, next;
    bool searching; /* no record begins where one should */
    struct {
        size_t segment;
        uint64_t offset, position;
    } breach;
    fc_wal_scan_report report;
};

static int collect(void *ctx, const char *name)
{
    fc_wal_scan *s = ctx;
    uint64_t base;
    if (!wal_parse_name(name, &base) || base > WAL_POSITION_MAX)
        return 0;
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        wal_extent *grown = realloc(s->segments, room * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        s->segments = grown;
        s->room = room;
    }
    s->segments[s->n++] = (wal_extent){.base = base};
    return 0;
}

static int ascending(const void *a, const void *b)
{
    const wal_extent *x = a, *y = b;
    return x->base < y->base ? -1 : x->base > y->base;
}

static int measure(fc_wal_scan *s)
{
    s->file_bytes = calloc(s->n + 1, sizeof *s->file_bytes);
    if (s->file_bytes == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < s->n; i++) {
        char name[WAL_NAME];
        fc_file *file;
        wal_name(name, s->segments[i].base);
        int error = fc_disk_file(s->disk, name, FC_FILE_READ, &file);
        if (error < 0)
            return error;
        int64_t size = fc_file_size(file);
        fc_file_close(file);
        if (size < 0)
            return (int)size;
        s->file_bytes[i] = (uint64_t)size;
        s->report.bytes += (uint64_t)size;
    }
    return 0;
}

int fc_wal_scan_open(fc_disk *disk, fc_wal_scan **out)
{
    fc_wal_scan *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->disk = disk;
    int error = fc_disk_list(disk, "", collect, s);
    if (s->n)
        qsort(s->segments, s->n, sizeof *s->segments, ascending);
    if (error == 0)
        error = measure(s);
    if (error < 0) {
        fc_wal_scan_close(s);
        return error;
    }
    s->report.segments = s->n;
    s->report.first = s->n ? s->segments[0].base : 0;
    s->report.end = s->report.first + WAL_HEADER;
    *out = s;
    return 0;
}

void fc_wal_scan_close(fc_wal_scan *s)
{
    if (s == NULL)
        return;
    free(s->segments);
    free(s->file_bytes);
    free(s);
}

const fc_wal_scan_report *fc_wal_scan_get_report(const fc_wal_scan *s) { return &s->report; }

void fc_wal_scan_name(const fc_wal_scan *s, size_t i, char out[24]) { wal_name(out, s->segments[i].base); }

/* The first `n` bytes of a segment's file, zeros where it cannot be read; to be freed. */
static char *load(fc_wal_scan *s, size_t i, uint64_t n)
{
    enum { PIECE = 64 << 10 };
    char name[WAL_NAME], *p = calloc(1, n + 1);
    fc_file *file;
    wal_name(name, s->segments[i].base);
    if (p == NULL || fc_disk_file(s->disk, name, FC_FILE_READ, &file) < 0)
        return p;
    for (uint64_t at = 0; at < n && at < s->file_bytes[i]; at += PIECE) {
        uint64_t left = s->file_bytes[i] - at < n - at ? s->file_bytes[i] - at : n - at;
        if (fc_file_read(file, p + at, left < PIECE ? left : PIECE, at) < 0)
            memset(p + at, 0, left < PIECE ? left : PIECE);
    }
    fc_file_close(file);
    return p;
}

static void tell(fc_wal_scan *s, size_t i, uint64_t offset, const char *what, fc_wal_damage_fn fn, void *ctx)
{
    char name[WAL_NAME];
    wal_name(name, s->segments[i].base);
    s->report.damages++;
    fn(ctx, name, offset, what);
}

static uint32_t number(const char *p)
{
    return (uint32_t)(uint8_t)p[0] | (uint32_t)(uint8_t)p[1] << 8 | (uint32_t)(uint8_t)p[2] << 16 |
           (uint32_t)(uint8_t)p[3] << 24;
}

/* A damaged header is told of, and what it says of the salt is tried: no record would check under a wrong one. A sound
 * one of another version is not ours to judge. */
static int read_header(fc_wal_scan *s, size_t i, fc_wal_damage_fn fn, void *ctx)
{
    wal_extent *e = &s->segments[i];
    uint64_t base = e->base;
    char *p = load(s, i, WAL_HEADER);
    if (p == NULL)
        return -ENOMEM;
    int error = wal_decode_segment(p, base, e);
    if (error == FC_WAL_EFORMAT && number(p + 28) != fc_crc32c_mask(fc_crc32c(0, p, 28)))
        error = FC_WAL_ECORRUPT;
    if (error < 0) {
        uint64_t size = s->file_bytes[i] & ~(uint64_t)(WAL_ALIGN - 1);
        size = size > WAL_SEGMENT_MAX ? WAL_SEGMENT_MAX : size < WAL_HEADER ? WAL_HEADER : size;
        *e = (wal_extent){base, size, number(p + 24)};
        tell(s, i, 0, "the header of a segment is damaged", fn, ctx);
    } else if (s->file_bytes[i] < e->size) {
        tell(s, i, s->file_bytes[i], "a segment is shorter than its header says", fn, ctx);
    }
    free(p);
    return error == FC_WAL_EFORMAT ? error : 0;
}

/* No record begins where one should. */
static void search(fc_wal_scan *s, size_t i, uint64_t offset)
{
    s->searching = true;
    s->breach.segment = i;
    s->breach.offset = offset;
    s->breach.position = s->segments[i].base + offset;
    s->report.torn_bytes = 0;
}

/* Record for record, or searching. */
static void walk(fc_wal_scan *s, size_t i, const char *p, fc_wal_damage_fn fn, void *ctx)
{
    const wal_extent *e = &s->segments[i];
    for (uint64_t offset = WAL_HEADER; offset + WAL_RECORD <= e->size;) {
        wal_head head;
        bool good = p[offset + 12] != 0 && wal_check(p + offset, *e, offset, &head);
        if (good && s->searching && e->base + offset - head.batch > s->breach.position) {
            tell(s, s->breach.segment, s->breach.offset, "a damaged record before sound ones", fn, ctx);
            s->searching = false;
        }
        if (good && head.type == WAL_END && !s->searching && i + 1 < s->n) {
            s->report.end = e->base + offset;
            return;
        }
        if (!s->searching && (!good || head.type == WAL_END)) /* an end mark without a next segment is none */
            search(s, i, offset);
        if (!good) {
            offset += WAL_ALIGN;
            continue;
        }
        if (head.type != WAL_END)
            s->report.records++;
        if (s->searching)
            s->report.torn_bytes += wal_record_bytes(head.length);
        offset += wal_record_bytes(head.length);
        s->report.end = e->base + offset;
    }
}

int fc_wal_scan_step(fc_wal_scan *s, fc_wal_damage_fn fn, void *ctx)
{
    if (s->next == s->n) {
        if (s->searching)
            s->report.end = s->breach.position;
        else
            s->report.torn_bytes = 0;
        return 0;
    }
    size_t i = s->next++;
    int error = read_header(s, i, fn, ctx);
    if (error < 0)
        return error;
    const wal_extent *e = &s->segments[i], *before = i ? &s->segments[i - 1] : NULL;
    if (before && before->base + before->size != e->base) { /* cannot be from a crash: it comes before what is newer */
        tell(s, i - 1, before->size, "the segment that follows is missing", fn, ctx);
        s->searching = false;
    }
    char *p = load(s, i, e->size);
    if (p == NULL)
        return -ENOMEM;
    if (s->report.end < e->base + WAL_HEADER)
        s->report.end = e->base + WAL_HEADER;
    walk(s, i, p, fn, ctx);
    free(p);
    s->report.bytes_done += s->file_bytes[i];
    s->report.beyond = e->base + e->size;
    return 1;
}

int fc_wal_scan_records(fc_wal_scan *s, size_t i, fc_wal_pos after, fc_wal_record_fn fn, void *ctx)
{
    const wal_extent *e = &s->segments[i];
    char *p = load(s, i, e->size);
    int answer = p ? 0 : -ENOMEM;
    uint64_t end = s->report.end > e->base ? s->report.end - e->base : 0;
    for (uint64_t offset = WAL_HEADER; answer == 0 && offset + WAL_RECORD <= e->size && offset < end;) {
        wal_head head;
        if (p[offset + 12] == 0 || !wal_check(p + offset, *e, offset, &head)) {
            offset += WAL_ALIGN;
            continue;
        }
        if (head.type == WAL_END)
            break;
        const char *payload = p + offset + WAL_RECORD;
        offset += wal_record_bytes(head.length);
        if (e->base + offset > after)
            answer = fn(ctx, &(fc_wal_record){e->base + offset, head.type, {payload, head.length}});
    }
    free(p);
    return answer;
}

int fc_wal_begin_at(fc_disk *disk, fc_wal_pos position, uint32_t salt)
{
    char name[WAL_NAME], header[WAL_HEADER];
    fc_file *file;
    if (position % WAL_ALIGN || position > WAL_POSITION_MAX)
        return -EINVAL;
    wal_name(name, position);
    wal_encode_segment(header, (wal_extent){position, WAL_SEGMENT_MIN, salt});
    int error = fc_disk_file(disk, name, FC_FILE_CREATE, &file);
    if (error < 0)
        return error;
    error = fc_file_allocate(file, WAL_SEGMENT_MIN);
    if (error == 0)
        error = fc_file_write(file, header, sizeof header, 0);
    if (error == 0)
        error = fc_file_sync(file);
    fc_file_close(file);
    return error == 0 ? fc_disk_sync_dir(disk, "") : error;
}
