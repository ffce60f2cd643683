/* Segments come and go: made ahead of need, recycled, given back oldest first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fc/unsafe.h"
#include "wal_internal.h"

int wal_segment_add(fc_wal *w, wal_extent e)
{
    if (w->segments_len == w->segments_room) {
        size_t room = w->segments_room ? 2 * w->segments_room : 16;
        wal_segment *segments = realloc(w->segments, room * sizeof *segments);
        if (segments == NULL)
            return -ENOMEM;
        w->segments = segments;
        w->segments_room = room;
    }
    w->segments[w->segments_len++] = (wal_segment){e, NULL};
    return 0;
}

/* A file of a segment's size of zeros under that name; what was there before goes. Nothing is left behind on an error. */
static int make_zeros(fc_wal *w, const char *name)
{
    fc_file *file;
    int error = fc_disk_remove(w->disk, name);
    if (error == 0 || error == -ENOENT)
        error = fc_disk_file(w->disk, name, FC_FILE_CREATE, &file);
    if (error == 0) {
        error = fc_file_allocate(file, w->options.segment_bytes);
        fc_file_close(file);
        if (error < 0)
            fc_disk_remove(w->disk, name);
    }
    pthread_mutex_lock(&w->lock);
    if (error == 0 || error == -ENOSPC)
        w->full = error < 0;
    pthread_mutex_unlock(&w->lock);
    return error;
}

int wal_segment_claim(fc_wal *w, bool urgent)
{
    if (w->full && w->claims >= w->spare) {
        if (!urgent || w->claims >= (uint32_t)w->spare + w->ballast)
            return -ENOSPC;
        w->tight = true;
    }
    w->claims++;
    return 0;
}

/* The file to make a segment of. A spare under way is waited for: a second one beside it would make both late. On a full disk
 * the ballast is one, and so is what the other thread was making with the last room there was. */
static int find_spare(fc_wal *w, const char **name)
{
    pthread_mutex_lock(&w->lock);
    while (w->making == WAL_MAKING_SPARE)
        pthread_cond_wait(&w->progress, &w->lock);
    bool spare = w->spare;
    pthread_mutex_unlock(&w->lock);
    *name = WAL_SPARE;
    if (spare)
        return 0;
    *name = WAL_NEXT; /* a name of its own: the other thread may be making a spare at this moment */
    int error = make_zeros(w, *name);
    if (error != -ENOSPC)
        return error;
    pthread_mutex_lock(&w->lock);
    while (w->making != WAL_MAKING_NOTHING)
        pthread_cond_wait(&w->progress, &w->lock);
    w->full = true; /* whatever the other thread got since */
    *name = w->spare ? WAL_SPARE : w->ballast ? WAL_BALLAST : NULL;
    pthread_mutex_unlock(&w->lock);
    return *name ? 0 : error;
}

/* Its name is free again: not earlier, or the other thread would make a new file under it that is then taken for this one. */
static void spare_is_used(fc_wal *w, const char *name)
{
    pthread_mutex_lock(&w->lock);
    if (strcmp(name, WAL_SPARE) == 0)
        w->spare = false;
    if (strcmp(name, WAL_BALLAST) == 0) {
        w->ballast = false;
        w->tight = true;
    }
    w->claims--;
    pthread_mutex_unlock(&w->lock);
}

/* The header is synced before the file gets its name, and the name before a record in it counts as durable. */
static int make_segment(fc_wal *w, wal_extent e, fc_file **out)
{
    const char *spare;
    char name[WAL_NAME], header[WAL_HEADER];
    int error = find_spare(w, &spare);
    if (error < 0)
        return error;
    wal_name(name, e.base);
    wal_encode_segment(header, e);
    error = fc_disk_file(w->disk, spare, FC_FILE_WRITE, out);
    if (error < 0)
        return error;
    error = fc_file_write(*out, header, sizeof header, 0);
    if (error == 0)
        error = fc_file_sync(*out);
    if (error == 0)
        error = fc_disk_rename(w->disk, spare, name);
    if (error == 0) {
        spare_is_used(w, spare);
        error = FC_UNSAFE(FC_UNSAFE_LOG_FOLDER_NOT_SYNCED) ? 0 : fc_disk_sync_dir(w->disk, "");
    }
    if (error < 0)
        fc_file_close(*out);
    return error;
}

/* A log that outlived a simulated crash is dead, as its process would be: its open files are, and it must not open others. */
static int check_alive(fc_wal *w)
{
    int64_t size = fc_file_size(w->lock_file);
    return size < 0 ? (int)size : 0;
}

int wal_segment_get(fc_wal *w, wal_extent e, fc_file **out)
{
    pthread_mutex_lock(&w->lock);
    size_t i = w->segments_len;
    while (i > 0 && w->segments[i - 1].e.base != e.base)
        i--;
    fc_file *file = i > 0 ? w->segments[i - 1].file : NULL;
    pthread_mutex_unlock(&w->lock);
    if (file != NULL) {
        *out = file;
        return 0;
    }
    char name[WAL_NAME];
    wal_name(name, e.base);
    int error = check_alive(w);
    if (error == 0)
        error = i > 0 ? fc_disk_file(w->disk, name, FC_FILE_WRITE, &file) : make_segment(w, e, &file);
    if (error < 0)
        return error;
    pthread_mutex_lock(&w->lock);
    if (i == 0)
        error = wal_segment_add(w, e);
    if (error == 0) {
        for (i = w->segments_len; w->segments[i - 1].e.base != e.base;)
            i--;
        w->segments[i - 1].file = *out = file;
    }
    pthread_cond_signal(&w->chores);
    pthread_mutex_unlock(&w->lock);
    if (error < 0)
        fc_file_close(file);
    return error;
}

void wal_segments_passed(fc_wal *w)
{
    for (size_t i = w->segments_len; i > 0; i--) {
        wal_segment *s = &w->segments[i - 1];
        if (s->e.base + s->e.size > w->durable)
            continue;
        if (s->file == NULL)
            break; /* nor has an older one */
        fc_file_close(s->file);
        s->file = NULL;
    }
}

/* --- chores ------------------------------------------------------------------------------------------------------------ */

/* May the i-th segment go? Everything in it is older than truncate_before, and it is not the one written to, nor one of a
 * batch under way. */
static bool may_go(const fc_wal *w, size_t i)
{
    if (i + 1 >= w->segments_len)
        return false;
    uint64_t end = w->segments[i].e.base + w->segments[i].e.size;
    return end <= w->truncate_before && end <= w->durable;
}

/* The last one that may go stays while there is a spare, to be the next: a log that is truncated as it grows then never
 * writes zeros, which were half of what it wrote and what its syncs queued behind. Not if room is short. */
static bool oldest_shall_go(const fc_wal *w)
{
    return may_go(w, 0) && (!w->spare || may_go(w, 1) || w->full || w->tight);
}

static bool wants_ballast(const fc_wal *w)
{
    return w->options.ballast && !w->ballast;
}

bool wal_has_chore(const fc_wal *w)
{
    return oldest_shall_go(w) || !w->spare || wants_ballast(w);
}

/* The log is out of its straits when there is room for both. */
static void room_found(fc_wal *w)
{
    if (w->spare && !wants_ballast(w))
        w->tight = false;
}

/* One at a time, its absence synced before the next: a crash must not leave a hole between older and newer ones. For the
 * same reason one that cannot be removed stays in the list, in front of the others. It leaves the list before its file is
 * used again, so that a reader who meets bytes that are not its own finds that the segment is gone. */
static int give_back_oldest(fc_wal *w)
{
    char name[WAL_NAME];
    pthread_mutex_lock(&w->lock);
    wal_extent oldest = w->segments[0].e;
    bool recycle = !w->spare && oldest.size == w->options.segment_bytes;
    pthread_mutex_unlock(&w->lock);
    wal_name(name, oldest.base);
    int error = recycle ? fc_disk_rename(w->disk, name, WAL_SPARE) : fc_disk_remove(w->disk, name);
    if (error < 0)
        return error;
    error = fc_disk_sync_dir(w->disk, "");
    pthread_mutex_lock(&w->lock);
    if (error < 0)
        wal_fail(w, error);
    if (w->segments[0].file != NULL)
        fc_file_close(w->segments[0].file);
    memmove(w->segments, w->segments + 1, --w->segments_len * sizeof *w->segments);
    if (error == 0 && recycle)
        w->spare = true;
    room_found(w);
    pthread_mutex_unlock(&w->lock);
    return error < 0 ? error : 1;
}

/* The ballast first. */
static int make_room(fc_wal *w, bool ballast)
{
    pthread_mutex_lock(&w->lock);
    w->making = ballast ? WAL_MAKING_BALLAST : WAL_MAKING_SPARE;
    pthread_mutex_unlock(&w->lock);
    int error = make_zeros(w, ballast ? WAL_BALLAST : WAL_SPARE);
    pthread_mutex_lock(&w->lock);
    w->making = WAL_MAKING_NOTHING;
    if (error == 0 && ballast)
        w->ballast = true;
    else if (error == 0)
        w->spare = true;
    if (error == 0)
        room_found(w);
    pthread_cond_broadcast(&w->progress);
    pthread_mutex_unlock(&w->lock);
    return error < 0 ? error : 1;
}

int wal_chore(fc_wal *w)
{
    pthread_mutex_lock(&w->lock);
    bool oldest = oldest_shall_go(w), ballast = wants_ballast(w), spare = !w->spare;
    pthread_mutex_unlock(&w->lock);
    int error = check_alive(w);
    if (error < 0)
        return error;
    return oldest ? give_back_oldest(w) : ballast ? make_room(w, true) : spare ? make_room(w, false) : 0;
}
