/* Replay of a log's files: no input makes it crash, return a record that was not appended, or return one twice.
 *
 * Byte 0 chooses how the files come about:
 *   0  any bytes
 *   1  any bytes behind right headers
 *   2  records with right checksums and any lengths, types and batches at any places: what only a forger could write
 *   3  a log as it was written, then damaged: compared with the list of what was appended
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../wal/wal_format.h"
#include "fc/disk_sim.h"
#include "fc/wal.h"
#include "fc/wal_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT 4096u
#define RECORDS_MAX 64
#define PAYLOAD_MAX 1500

typedef struct input {
    const uint8_t *p;
    size_t n;
} input;

typedef struct appended {
    uint64_t pos;
    uint32_t length;
    unsigned batch;
} appended;

typedef struct model {
    appended records[RECORDS_MAX + 1];
    unsigned n, batches;
} model;

#define require(right) \
    do {               \
        if (!(right))  \
            abort();   \
    } while (0)

static uint32_t take(input *in, size_t bytes)
{
    uint32_t v = 0;
    for (size_t i = 0; i < bytes && in->n > 0; i++, in->p++, in->n--)
        v = v << 8 | *in->p;
    return v;
}

static fc_wal_options options(void)
{
    fc_wal_options o = FC_WAL_OPTIONS;
    o.segment_bytes = SEGMENT;
    o.record_bytes_max = PAYLOAD_MAX;
    o.buffer_bytes_max = 16384;
    o.ballast = false;
    o.threaded = false;
    o.salt_seed = 7;
    return o;
}

static void put_file(fc_disk *disk, uint64_t base, const char *bytes, size_t n)
{
    char name[WAL_NAME];
    fc_file *file;
    wal_name(name, base);
    require(fc_disk_file(disk, name, FC_FILE_CREATE, &file) == 0 && fc_file_write(file, bytes, n, 0) == 0);
    fc_file_close(file);
}

/* Up to three segments of what the input holds. */
static void write_any(fc_disk *disk, input *in, bool headers)
{
    for (uint64_t base = 0; base < 3 * SEGMENT && (base == 0 || in->n > 0); base += SEGMENT) {
        char bytes[SEGMENT] = {0};
        size_t n = in->n < SEGMENT ? in->n : SEGMENT;
        if (n > 0)
            memcpy(bytes, in->p, n);
        in->p += n;
        in->n -= n;
        if (headers)
            wal_encode_segment(bytes, (wal_extent){base, SEGMENT, 5});
        put_file(disk, base, bytes, headers || base > 0 || n == 0 ? SEGMENT : n + (SEGMENT - n) * (bytes[n - 1] & 1));
    }
}

static void write_forged(fc_disk *disk, input *in)
{
    char bytes[3][SEGMENT] = {{0}};
    for (unsigned i = 0; i < 3; i++)
        wal_encode_segment(bytes[i], (wal_extent){i * SEGMENT, SEGMENT, 5});
    uint64_t offset = WAL_HEADER;
    for (unsigned segment = 0; in->n > 0;) {
        uint8_t what = (uint8_t)take(in, 1);
        if (what < 8) { /* somewhere else */
            segment = what % 3;
            offset = WAL_HEADER + take(in, 2) % (SEGMENT - WAL_HEADER) / WAL_ALIGN * WAL_ALIGN;
        }
        wal_head head = {take(in, what & 16 ? 2 : 1), take(in, what & 32 ? 2 : 0), what & 64 ? 255 : what | 1};
        if (offset + WAL_RECORD + head.length > SEGMENT) {
            segment = (segment + 1) % 3;
            offset = WAL_HEADER;
            continue;
        }
        wal_seal(bytes[segment] + offset, 5, segment * SEGMENT + offset, head);
        offset += wal_record_bytes(head.length);
        if (what == 9 && offset < SEGMENT)
            bytes[segment][offset - 1] ^= 1;
    }
    for (unsigned i = 0; i < 3; i++)
        put_file(disk, i * SEGMENT, bytes[i], SEGMENT);
}

static void payload(char *out, unsigned i, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        out[k] = (char)(i * 31 + k * 7);
}

static uint8_t type_of(unsigned i)
{
    return (uint8_t)(1 + i % 254);
}

static void append(fc_wal *w, model *m, uint32_t length)
{
    char bytes[PAYLOAD_MAX];
    appended *a = &m->records[m->n];
    payload(bytes, m->n, length);
    int error = fc_wal_append(w, type_of(m->n), &(fc_slice){bytes, length}, 1, false, &a->pos);
    if (error == FC_WAL_EFULL)
        return;
    require(error == 0);
    a->length = length;
    a->batch = m->batches;
    m->n++;
}

static void write_log(fc_disk *disk, input *in, model *m)
{
    fc_wal_options o = options();
    fc_wal *w;
    require(fc_wal_open(disk, &o, &w) == 0);
    for (unsigned turns = take(in, 1) % RECORDS_MAX; turns > 0 && m->n < RECORDS_MAX; turns--) {
        uint32_t what = take(in, 2);
        append(w, m, what >> 2 & 1023);
        if (what & 1) {
            while (fc_wal_step(w) > 0)
                ;
            m->batches++;
        }
    }
    require(fc_wal_close(w) == 0);
}

/* Bits flipped, stretches of zeros or of other places, files cut short. True when it was one bit or nothing. */
static bool damage(fc_disk *disk, input *in)
{
    unsigned times = 0;
    bool one_bit = true;
    while (in->n > 0 && times++ < 8) {
        char name[WAL_NAME], piece[256] = {0};
        uint32_t how = take(in, 1), offset = take(in, 2) % SEGMENT, length = take(in, 1);
        wal_name(name, (how >> 4) % 8 * SEGMENT);
        fc_file *file;
        if (fc_disk_file(disk, name, FC_FILE_WRITE, &file) < 0)
            continue;
        if (how % 4 == 0) {
            char byte = 0;
            fc_file_read(file, &byte, 1, offset);
            byte ^= (char)(1 << length % 8);
            fc_file_write(file, &byte, 1, offset);
        } else if (how % 4 == 1) {
            fc_file_write(file, piece, length, offset);
        } else if (how % 4 == 2) {
            fc_file_read(file, piece, length, take(in, 2) % SEGMENT);
            fc_file_write(file, piece, length, offset);
        } else {
            fc_file_truncate(file, offset);
        }
        one_bit &= how % 4 == 0;
        fc_file_close(file);
    }
    return one_bit && times <= 1;
}

static int open_log(fc_disk *disk, fc_wal **w)
{
    fc_wal_options o = options();
    int error = fc_wal_open(disk, &o, w);
    require(error == 0 || error == FC_WAL_ECORRUPT || error == FC_WAL_EFORMAT);
    return error;
}

/* What the log returns: how many records. m, unless NULL: they are the first of these. */
static unsigned replay(fc_wal *w, int opened, const model *m, uint64_t *last)
{
    static char bytes[PAYLOAD_MAX];
    fc_wal_reader *r;
    fc_wal_record record;
    unsigned n = 0;
    int answer;
    *last = 0;
    answer = fc_wal_reader_open(w, 0, &r);
    if (answer < 0) {
        require(opened < 0);
        return 0;
    }
    while ((answer = fc_wal_reader_next(r, &record)) == 1) {
        require(record.pos > *last && record.type != 0 && record.type != 255);
        *last = record.pos;
        if (m != NULL) {
            require(n < m->n && record.pos == m->records[n].pos && record.payload.n == m->records[n].length);
            payload(bytes, n, m->records[n].length);
            require(record.type == type_of(n) && memcmp(bytes, record.payload.p, record.payload.n) == 0);
        }
        n++;
    }
    require(answer == (opened == 0 ? 0 : FC_WAL_ECORRUPT));
    fc_wal_reader_close(r);
    return n;
}

typedef struct scanned {
    fc_wal_scan_report report;
    unsigned records;
    uint64_t last;
    int answer;
} scanned;

static void scanned_damage(void *ctx, const char *name, uint64_t offset, const char *what)
{
    (void)ctx;
    (void)offset;
    require(name[0] != 0 && what[0] != 0);
}

static int scanned_record(void *ctx, const fc_wal_record *record)
{
    scanned *s = ctx;
    require(record->pos > s->last && record->type != 0 && record->type != 255);
    s->last = record->pos;
    s->records++;
    return 0;
}

/* The log looked at from outside, before it is opened. */
static scanned scan(fc_disk *disk)
{
    scanned s = {.records = 0};
    fc_wal_scan *w;
    require(fc_wal_scan_open(disk, &w) == 0);
    while ((s.answer = fc_wal_scan_step(w, scanned_damage, NULL)) == 1)
        ;
    s.report = *fc_wal_scan_get_report(w);
    for (size_t i = 0; s.answer == 0 && i < s.report.segments; i++)
        require(fc_wal_scan_records(w, i, 0, scanned_record, &s) == 0);
    fc_wal_scan_close(w);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 3 * SEGMENT)
        return 0;
    input in = {data + 1, size - 1};
    unsigned mode = data[0] % 4;
    model m = {.n = 0};
    bool one_bit = false;
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    require(disk != NULL);
    if (mode == 3) {
        write_log(disk, &in, &m);
        one_bit = damage(disk, &in);
    } else if (mode == 2) {
        write_forged(disk, &in);
    } else {
        write_any(disk, &in, mode == 1);
    }
    fc_wal *w = NULL;
    uint64_t last, again;
    scanned outside = scan(disk);
    int opened = open_log(disk, &w);
    if (opened != FC_WAL_EFORMAT) {
        unsigned n = replay(w, opened, mode == 3 ? &m : NULL, &last);
        require(outside.answer == 0 && (outside.report.damages > 0) == (opened == FC_WAL_ECORRUPT));
        require(opened != 0 || (outside.report.end == fc_wal_end(w) && outside.records == n));
        require(outside.records >= n);
        if (opened == 0 && one_bit)
            for (unsigned i = n; i < m.n; i++) /* one bit can hide nothing but the batch that might be torn */
                require(m.records[i].batch == m.records[m.n - 1].batch);
        if (opened == 0) {
            fc_wal_pos pos;
            require(fc_wal_append(w, 9, &(fc_slice){"more", 4}, 1, false, &pos) == 0 && pos > last);
            require(fc_wal_close(w) == 0 && open_log(disk, &w) == 0);
            require(replay(w, 0, NULL, &again) == n + 1 && again == pos);
        } else {
            require(replay(w, opened, mode == 3 ? &m : NULL, &again) == n && again == last);
        }
        fc_wal_close(w);
    }
    fc_disk_close(disk);
    return 0;
}
