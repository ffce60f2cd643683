/* Going through the records of an open log. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wal_internal.h"

#define WINDOW (256u << 10)

struct fc_wal_reader {
    fc_wal *log;
    fc_wal_pos after; /* records that end at or before this are passed over */
    wal_extent e; /* of the segment being read */
    uint64_t offset;
    fc_file *file;
    char *window; /* bytes of the segment from window_at on */
    uint64_t window_at, window_len, room;
};

/* Has the segment been given back? Its file may be gone, or hold another segment by now. */
static bool was_truncated(fc_wal_reader *r)
{
    fc_wal *w = r->log;
    pthread_mutex_lock(&w->lock);
    bool gone = w->segments_len > 0 && r->e.base < w->segments[0].e.base;
    pthread_mutex_unlock(&w->lock);
    return gone;
}

/* The segment that `position` lies in; with 0 the oldest. */
static int choose(fc_wal_reader *r, uint64_t position)
{
    fc_wal *w = r->log;
    int error = 0;
    pthread_mutex_lock(&w->lock);
    size_t i = w->segments_len;
    while (i > 1 && w->segments[i - 1].e.base > position)
        i--;
    if (i == 0)
        error = FC_WAL_ECORRUPT; /* there is one always, but where not even the first header could be read */
    else if (w->segments[i - 1].e.base > position && position != 0)
        error = FC_WAL_EGONE;
    else
        r->e = w->segments[i - 1].e;
    pthread_mutex_unlock(&w->lock);
    return error;
}

static int open_segment(fc_wal_reader *r, uint64_t position)
{
    char name[WAL_NAME];
    int error;
    do { /* the oldest may have gone since it was chosen, and another be the oldest */
        error = choose(r, position);
        if (error < 0)
            return error;
        wal_name(name, r->e.base);
        error = fc_disk_file(r->log->disk, name, FC_FILE_READ, &r->file);
    } while (error == -ENOENT && position == 0 && was_truncated(r));
    r->offset = WAL_HEADER;
    r->window_len = 0;
    return error == -ENOENT && was_truncated(r) ? FC_WAL_EGONE : error;
}

int fc_wal_reader_open(fc_wal *w, fc_wal_pos pos, fc_wal_reader **out)
{
    fc_wal_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->log = w;
    r->after = pos;
    int error = open_segment(r, pos);
    if (error < 0) {
        free(r);
        return error;
    }
    *out = r;
    return 0;
}

/* n bytes of the segment at r->offset, in the window, which holds nothing that is not durable: it would not see it change. */
static int fill(fc_wal_reader *r, uint64_t n, fc_wal_pos durable)
{
    if (r->offset >= r->window_at && r->offset + n <= r->window_at + r->window_len)
        return 0;
    uint64_t end = durable - r->e.base < r->e.size ? durable - r->e.base : r->e.size;
    uint64_t left = end - r->offset, take = n > WINDOW ? n : WINDOW;
    if (n > left)
        return FC_WAL_ECORRUPT;
    take = take < left ? take : left;
    if (take > r->room) {
        char *window = realloc(r->window, take);
        if (window == NULL)
            return -ENOMEM;
        r->window = window;
        r->room = take;
    }
    r->window_len = 0;
    int error = fc_file_read(r->file, r->window, take, r->offset);
    if (error < 0)
        return error == FC_DISK_SHORT ? FC_WAL_ECORRUPT : error;
    r->window_at = r->offset;
    r->window_len = take;
    return 0;
}

/* The record at r->offset, which is durable. */
static int read_record(fc_wal_reader *r, fc_wal_pos durable, wal_head *head, const char **p)
{
    int error = fill(r, WAL_RECORD, durable);
    if (error < 0)
        return error;
    if (!wal_peek(r->window + (r->offset - r->window_at), r->e.salt, r->e.base + r->offset, head))
        return FC_WAL_ECORRUPT;
    uint64_t bytes = wal_record_bytes(head->length);
    error = fill(r, bytes, durable);
    if (error < 0)
        return error;
    *p = r->window + (r->offset - r->window_at);
    return wal_check(*p, r->e, r->offset, head) ? 0 : FC_WAL_ECORRUPT;
}

static int failed(fc_wal_reader *r, int error)
{
    if (error != FC_WAL_ECORRUPT)
        return error;
    if (was_truncated(r))
        return FC_WAL_EGONE;
    pthread_mutex_lock(&r->log->lock);
    if (!r->log->read_only) { /* else recovery has said where */
        wal_name(r->log->report.corrupt_name, r->e.base);
        r->log->report.corrupt_offset = r->offset;
    }
    pthread_mutex_unlock(&r->log->lock);
    return error;
}

/* Behind an end mark, which was synced after the next segment had its name. */
static int next_segment(fc_wal_reader *r)
{
    uint64_t next = r->e.base + r->e.size;
    fc_file_close(r->file);
    r->file = NULL;
    int error = open_segment(r, next);
    return error == 0 && r->e.base != next ? FC_WAL_ECORRUPT : error;
}

int fc_wal_reader_next(fc_wal_reader *r, fc_wal_record *out)
{
    for (;;) {
        fc_wal_pos durable = fc_wal_durable(r->log);
        int error = r->file == NULL ? open_segment(r, r->after) : 0;
        if (error < 0)
            return error;
        if (r->e.base + r->offset >= durable)
            return r->log->read_only ? FC_WAL_ECORRUPT : 0;
        wal_head head;
        const char *p;
        error = read_record(r, durable, &head, &p);
        if (error == 0 && head.type == WAL_END) {
            error = next_segment(r);
            if (error == 0)
                continue;
        }
        if (error < 0)
            return failed(r, error);
        r->offset += wal_record_bytes(head.length);
        if (r->e.base + r->offset <= r->after)
            continue;
        r->after = r->e.base + r->offset;
        *out = (fc_wal_record){r->after, head.type, {p + WAL_RECORD, head.length}};
        return 1;
    }
}

void fc_wal_reader_close(fc_wal_reader *r)
{
    if (r->file != NULL)
        fc_file_close(r->file);
    free(r->window);
    free(r);
}
