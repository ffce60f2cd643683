#include <errno.h>
#include <stdio.h>

#include "fc/unsafe.h"
#include "manifest_format.h"

#define CURRENT_NEW "CURRENT.new"

struct fc_manifest {
    fc_file *file;
    uint64_t number, bytes;
    uint64_t batch; /* where the batch began that is being written */
    int error;
    bytes buffer;
};

/* --- writing ---------------------------------------------------------------------------------------------------- */

static int fail(fc_manifest *m, int error)
{
    return m->error = error;
}

static int write_record(fc_manifest *m, manifest_type type, fc_slice payload)
{
    uint64_t n = manifest_record_bytes(payload.n);
    m->buffer.n = 0;
    if (payload.n > FC_MANIFEST_EDIT_MAX || m->bytes + n > FC_MANIFEST_BYTES_MAX)
        return fail(m, FC_MANIFEST_ESIZE);
    if (!bytes_reserve(&m->buffer, n))
        return fail(m, -ENOMEM);
    memset(m->buffer.p, 0, n);
    if (payload.n)
        memcpy(m->buffer.p + MANIFEST_RECORD, payload.p, payload.n);
    manifest_head head = {(uint32_t)payload.n, (uint32_t)(m->bytes - m->batch), (uint8_t)type};
    manifest_seal(m->buffer.p, m->number, m->bytes, head);
    int error = fc_file_write(m->file, m->buffer.p, n, m->bytes);
    if (error < 0)
        return fail(m, error);
    m->bytes += n;
    return 0;
}

int fc_manifest_append(fc_manifest *m, const fc_edit *edit)
{
    if (m->error < 0)
        return m->error;
    if (edit->error < 0)
        return edit->error;
    int error = write_record(m, MANIFEST_EDIT, (fc_slice){edit->p, edit->n});
    if (error == 0 && !FC_UNSAFE(FC_UNSAFE_MANIFEST_NOT_SYNCED))
        error = fc_file_sync(m->file);
    if (error < 0)
        return fail(m, error);
    m->batch = m->bytes;
    return write_record(m, MANIFEST_SEAL, (fc_slice){NULL, 0});
}

/* The steps of a change of CURRENT, each of which relies on the ones before. */
static int point_current(fc_disk *disk, uint64_t number)
{
    char line[MANIFEST_CURRENT_BYTES];
    size_t n = manifest_put_current(line, number);
    fc_file *f;
    int error = fc_disk_remove(disk, CURRENT_NEW); /* what a crash has left */
    if (error < 0 && error != -ENOENT)
        return error;
    error = fc_disk_file(disk, CURRENT_NEW, FC_FILE_CREATE, &f);
    if (error < 0)
        return error;
    error = fc_file_write(f, line, n, 0);
    if (error == 0)
        error = fc_file_sync(f);
    fc_file_close(f);
    if (error == 0)
        error = fc_disk_rename(disk, CURRENT_NEW, MANIFEST_CURRENT);
    return error == 0 && !FC_UNSAFE(FC_UNSAFE_CURRENT_FOLDER_NOT_SYNCED) ? fc_disk_sync_dir(disk, "") : error;
}

static int begin(fc_manifest *m, fc_disk *disk, const fc_edit *state)
{
    char header[MANIFEST_HEADER];
    manifest_put_header(header, m->number);
    int error = fc_file_write(m->file, header, MANIFEST_HEADER, 0);
    if (error < 0)
        return error;
    m->bytes = MANIFEST_HEADER;
    error = FC_UNSAFE(FC_UNSAFE_CURRENT_BEFORE_MANIFEST) ? point_current(disk, m->number) : 0;
    if (error == 0)
        error = fc_manifest_append(m, state);
    if (error == 0)
        error = fc_disk_sync_dir(disk, "");
    return error == 0 ? point_current(disk, m->number) : error;
}

int fc_manifest_create(fc_disk *disk, uint64_t number, const fc_edit *state, fc_manifest **out)
{
    char name[FC_MANIFEST_NAME_MAX];
    fc_manifest *m = calloc(1, sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    m->number = number;
    fc_manifest_name(name, number);
    int error = fc_disk_file(disk, name, FC_FILE_CREATE, &m->file);
    if (error < 0) {
        free(m);
        return error;
    }
    error = begin(m, disk, state);
    if (error < 0) {
        fc_manifest_close(m);
        return error;
    }
    *out = m;
    return 0;
}

uint64_t fc_manifest_bytes(const fc_manifest *m) { return m->bytes; }
uint64_t fc_manifest_number(const fc_manifest *m) { return m->number; }

void fc_manifest_close(fc_manifest *m)
{
    if (m == NULL)
        return;
    fc_file_close(m->file);
    bytes_free(&m->buffer);
    free(m);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static int damaged(fc_manifest_report *r, int error, uint64_t offset, const char *what)
{
    r->damage.offset = offset;
    r->damage.what = what;
    return error;
}

/* The whole file, with room for a byte more. */
static int slurp(fc_disk *disk, const char *name, uint64_t most, bytes *out, fc_manifest_report *r)
{
    fc_file *f;
    snprintf(r->damage.name, sizeof r->damage.name, "%s", name);
    int error = fc_disk_file(disk, name, FC_FILE_READ, &f);
    if (error < 0)
        return error;
    int64_t size = fc_file_size(f);
    if (size < 0)
        error = (int)size;
    else if ((uint64_t)size > most)
        error = damaged(r, FC_MANIFEST_EFORMAT, 0, "larger than any file of its kind");
    else if (!bytes_reserve(out, (size_t)size + 1))
        error = -ENOMEM;
    else
        error = fc_file_read(f, out->p, (size_t)size, 0);
    fc_file_close(f);
    out->n = error == 0 ? (size_t)size : 0;
    return error == FC_DISK_SHORT ? damaged(r, FC_MANIFEST_ECORRUPT, 0, "the file has become shorter") : error;
}

/* Behind a record that does not check: is there one of a batch that began later? */
static bool later_batch(fc_slice file, uint64_t number, uint64_t bad)
{
    manifest_head head;
    for (uint64_t at = bad + MANIFEST_ALIGN; at < file.n; at += MANIFEST_ALIGN)
        if (manifest_check(file.p + at, file.n - at, number, at, &head) && at - head.batch > bad)
            return true;
    return false;
}

static int give_items(fc_slice edit, fc_manifest_item_fn fn, void *ctx)
{
    fc_edit_item item;
    size_t at = 0;
    int answer;
    while ((answer = fc_edit_next(edit, &at, &item)) == 1)
        ; /* all of it can be read, or nothing is given */
    for (at = 0; answer == 0 && fc_edit_next(edit, &at, &item) == 1;)
        answer = fn(ctx, &item);
    return answer;
}

static int read_records(fc_slice file, uint64_t number, fc_manifest_item_fn fn, void *ctx, fc_manifest_report *r)
{
    if (file.n < MANIFEST_HEADER || !manifest_is_header(file.p, number))
        return damaged(r, FC_MANIFEST_ECORRUPT, 0, "no manifest of this number begins here");
    uint64_t at = r->bytes = MANIFEST_HEADER;
    for (manifest_head head; at < file.n; at += manifest_record_bytes(head.length)) {
        const char *p = file.p + at;
        if (!manifest_check(p, file.n - at, number, at, &head)) {
            if (later_batch(file, number, at))
                return damaged(r, FC_MANIFEST_ECORRUPT, at, "a damaged record before sound ones");
            break;
        }
        uint64_t end = at + manifest_record_bytes(head.length);
        for (uint64_t i = at + MANIFEST_RECORD + head.length; i < end; i++)
            if (file.p[i] != 0)
                return damaged(r, FC_MANIFEST_ECORRUPT, i, "bytes between two records");
        if (head.type == MANIFEST_SEAL)
            continue;
        if (head.type != MANIFEST_EDIT)
            return damaged(r, FC_MANIFEST_EFORMAT, at, "a record of an unknown type");
        int answer = give_items((fc_slice){p + MANIFEST_RECORD, head.length}, fn, ctx);
        if (answer == FC_MANIFEST_EFORMAT)
            return damaged(r, answer, at, "an edit that cannot be read here");
        if (answer != 0)
            return answer;
        r->records++;
        r->bytes = end;
    }
    r->torn_bytes = file.n - at;
    /* CURRENT names a manifest only when its first record was durable. */
    return r->records ? 0 : damaged(r, FC_MANIFEST_ECORRUPT, MANIFEST_HEADER, "the first record is damaged");
}

int fc_manifest_read_number(fc_disk *disk, uint64_t number, fc_manifest_item_fn fn, void *ctx,
                            fc_manifest_report *report)
{
    char name[FC_MANIFEST_NAME_MAX];
    bytes file = {0};
    *report = (fc_manifest_report){.number = number};
    fc_manifest_name(name, number);
    int error = slurp(disk, name, FC_MANIFEST_BYTES_MAX, &file, report);
    if (error == 0)
        error = read_records(bytes_slice(&file), number, fn, ctx, report);
    bytes_free(&file);
    return error;
}

int fc_manifest_read(fc_disk *disk, fc_manifest_item_fn fn, void *ctx, fc_manifest_report *report)
{
    bytes current = {0};
    uint64_t number = 0;
    *report = (fc_manifest_report){0};
    int error = slurp(disk, MANIFEST_CURRENT, MANIFEST_CURRENT_BYTES, &current, report);
    if (error == 0 && !manifest_get_current(bytes_slice(&current), &number))
        error = damaged(report, FC_MANIFEST_ECORRUPT, 0, "CURRENT names no manifest");
    bytes_free(&current);
    if (error < 0)
        return error;
    error = fc_manifest_read_number(disk, number, fn, ctx, report);
    if (error == -ENOENT) /* not to be taken for a store that is new */
        return damaged(report, FC_MANIFEST_ECORRUPT, 0, "CURRENT names a manifest that is not there");
    return error;
}

int fc_manifest_salvage(fc_disk *disk, uint64_t number, void (*anew)(void *ctx), fc_manifest_item_fn fn, void *ctx)
{
    char name[FC_MANIFEST_NAME_MAX];
    bytes file = {0};
    manifest_head head;
    fc_manifest_name(name, number);
    int error = slurp(disk, name, FC_MANIFEST_BYTES_MAX, &file, &(fc_manifest_report){0});
    for (uint64_t at = MANIFEST_HEADER; error == 0 && at < file.n;) {
        const char *p = file.p + at;
        if (!manifest_check(p, file.n - at, number, at, &head)) {
            at += MANIFEST_ALIGN;
            continue;
        }
        if (at == MANIFEST_HEADER)
            anew(ctx);
        if (head.type == MANIFEST_EDIT)
            error = give_items((fc_slice){p + MANIFEST_RECORD, head.length}, fn, ctx);
        at += manifest_record_bytes(head.length);
    }
    bytes_free(&file);
    return error == -ENOENT || error == -EIO || error == FC_MANIFEST_ECORRUPT ? 0 : error;
}

const char *fc_manifest_strerror(int error)
{
    switch (error) {
    case FC_MANIFEST_ECORRUPT:
        return "the manifest is damaged";
    case FC_MANIFEST_EFORMAT:
        return "not a manifest, or one of a later version";
    case FC_MANIFEST_ESIZE:
        return "an edit or manifest that is too large, or an edit of an unknown kind";
    default:
        return error < 0 && error > -10000 ? strerror(-error) : "no error";
    }
}
