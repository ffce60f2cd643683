/* Any bytes as a manifest, as CURRENT, and as records and seals under checksums that are right: the reader answers or
 * refuses, gives whole edits only, and what it gives can be written again and comes back the same.
 *
 * Byte 0 chooses the way. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lsm/manifest_format.h"
#include "fc/disk_sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool what)
{
    if (!what)
        abort();
}

static void put_file(fc_disk *disk, const char *name, const char *p, size_t n)
{
    fc_file *f = NULL;
    must(fc_disk_file(disk, name, FC_FILE_CREATE, &f) == 0 && fc_file_write(f, p, n, 0) == 0);
    fc_file_close(f);
}

static int collect(void *ctx, const fc_edit_item *item)
{
    fc_edit_add(ctx, item);
    return 0;
}

/* Reads; what came must survive being written by ourselves. Returns the number of records. */
static uint64_t read_all(fc_disk *disk, bool through_current)
{
    fc_edit got = {0}, again = {0};
    fc_manifest_report r, r2;
    int error = through_current ? fc_manifest_read(disk, collect, &got, &r)
                                : fc_manifest_read_number(disk, 1, collect, &got, &r);
    must(error == 0 || error == FC_MANIFEST_ECORRUPT || error == FC_MANIFEST_EFORMAT);
    must((error < 0) == (r.damage.what != NULL));
    must(got.error == 0);
    fc_manifest *m;
    must(fc_manifest_create(disk, 1000, &got, &m) == 0);
    must(fc_manifest_append(m, &got) == 0);
    fc_manifest_close(m);
    must(fc_manifest_read(disk, collect, &again, &r2) == 0);
    must(r2.records == 2 && r2.torn_bytes == 0 && r2.number == 1000);
    must(again.n == 2 * got.n && (got.n == 0 || memcmp(again.p, got.p, got.n) == 0));
    must(got.n == 0 || memcmp(again.p + got.n, got.p, got.n) == 0);
    fc_edit_free(&got);
    fc_edit_free(&again);
    return error == 0 ? r.records : 0;
}

/* For each record: type and whether it is left damaged, length, payload. Batches are as a writer makes them, so the
 * reader's verdict is known: sound records up to the first damaged one; with a later batch behind that, corruption. */
static void any_records(fc_disk *disk, const char *p, size_t n)
{
    bytes file = {0};
    must(bytes_reserve(&file, MANIFEST_HEADER));
    manifest_put_header(file.p, 1);
    file.n = MANIFEST_HEADER;
    uint64_t batch = 0, sound = 0;
    bool damaged = false;
    for (size_t at = 0; at + 2 <= n;) {
        bool seal = p[at] & 1, harm = (p[at] & 0x70) == 0x10;
        size_t length = seal ? 0 : (uint8_t)p[at + 1];
        at += 2;
        length = length < n - at ? length : n - at;
        uint64_t room = manifest_record_bytes(length);
        must(bytes_reserve(&file, room));
        char *to = file.p + file.n;
        memset(to, 0, room);
        memcpy(to + MANIFEST_RECORD, p + at, length);
        if (seal)
            batch = file.n;
        manifest_head head = {(uint32_t)length, (uint32_t)(file.n - batch), seal ? MANIFEST_SEAL : MANIFEST_EDIT};
        manifest_seal(to, 1, file.n, head);
        if (harm)
            to[at % (MANIFEST_RECORD + length)] ^= 4;
        damaged = damaged || harm;
        sound += !damaged && !seal;
        file.n += room;
        at += length;
    }
    put_file(disk, "MANIFEST-000001", file.p, file.n);
    must(read_all(disk, false) <= sound);
    bytes_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 8192)
        return 0;
    fc_disk *disk = fc_disk_sim_new(&(fc_disk_sim_options){.seed = 1});
    char *copy = malloc(size);
    size_t n = size - 1;
    memcpy(copy, data + 1, n);
    switch (data[0] % 4) {
    case 0:
        put_file(disk, "MANIFEST-000001", copy, n);
        read_all(disk, false);
        break;
    case 1:
        put_file(disk, "CURRENT", copy, n);
        read_all(disk, true);
        break;
    case 2:
        any_records(disk, copy, n);
        break;
    default: { /* an edit by itself */
        fc_edit_item item;
        size_t at = 0;
        while (fc_edit_next((fc_slice){copy, n}, &at, &item) == 1)
            must(at <= n);
    }
    }
    free(copy);
    fc_disk_close(disk);
    return 0;
}
