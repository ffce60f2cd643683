/* Page cache and platter: what a sync carries from one to the other, and what a crash leaves. */
#include "sim_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fc/hash.h"

#define SECTOR 512u
#define PAGE 4096u

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

static int bytes_resize(sim_bytes *b, uint64_t n)
{
    if (n > b->room) {
        uint64_t room = n > 2 * b->room ? n : 2 * b->room;
        char *p = realloc(b->p, room);
        if (p == NULL)
            return -ENOMEM;
        b->p = p;
        b->room = room;
    }
    if (n > b->n)
        memset(b->p + b->n, 0, n - b->n);
    b->n = n;
    return 0;
}

static int bytes_write(sim_bytes *b, uint64_t offset, const char *p, uint64_t n)
{
    if (offset + n > b->n && bytes_resize(b, offset + n) < 0)
        return -ENOMEM;
    memcpy(b->p + offset, p, n);
    return 0;
}

static int bytes_copy(sim_bytes *to, const sim_bytes *from)
{
    to->n = 0;
    if (bytes_resize(to, from->n) < 0)
        return -ENOMEM;
    if (from->n)
        memcpy(to->p, from->p, from->n);
    return 0;
}

sim_inode *sim_new_inode(sim_disk *d, bool folder)
{
    sim_inode *node = calloc(1, sizeof *node);
    if (node == NULL)
        return NULL;
    node->last = &node->first;
    node->next = d->inodes;
    node->names = 1;
    node->folder = folder;
    d->inodes = node;
    return node;
}

void sim_hold(sim_inode *node)
{
    if (node != NULL)
        node->names++;
}

void sim_drop(sim_disk *d, sim_inode *node)
{
    if (node == NULL || --node->names > 0)
        return;
    for (sim_inode **at = &d->inodes; *at != NULL; at = &(*at)->next)
        if (*at == node) {
            *at = node->next;
            break;
        }
    d->used -= node->cache.n;
    sim_forget_bytes(node);
    free(node->cache.p);
    free(node->platter.p);
    free(node);
}

static int add_change(sim_inode *node, uint64_t offset, const void *data, uint64_t n, bool resize)
{
    sim_change *c = malloc(sizeof *c + n);
    if (c == NULL)
        return -ENOMEM;
    *c = (sim_change){NULL, offset, n, resize};
    if (n)
        memcpy(c->data, data, n);
    *node->last = c;
    node->last = &c->next;
    return 0;
}

int sim_write_cached(sim_disk *d, sim_inode *node, const void *p, uint64_t n, uint64_t offset)
{
    if (n == 0)
        return 0;
    uint64_t before = node->cache.n;
    int error = add_change(node, offset, p, n, false);
    if (error == 0)
        error = bytes_write(&node->cache, offset, p, n);
    d->used += node->cache.n - before;
    return error;
}

int sim_resize_cached(sim_disk *d, sim_inode *node, uint64_t size)
{
    uint64_t before = node->cache.n;
    int error = add_change(node, size, NULL, 0, true);
    if (error == 0)
        error = bytes_resize(&node->cache, size);
    d->used += node->cache.n - before;
    return error;
}

void sim_forget_bytes(sim_inode *node)
{
    for (sim_change *c = node->first, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    node->first = NULL;
    node->last = &node->first;
}

int sim_carry_bytes(sim_inode *node)
{
    for (const sim_change *c = node->first; c != NULL; c = c->next) {
        int error = c->resize ? bytes_resize(&node->platter, c->offset)
                              : bytes_write(&node->platter, c->offset, c->data, c->n);
        if (error < 0)
            return error;
    }
    sim_forget_bytes(node);
    return 0;
}

/* --- names ---------------------------------------------------------------------------------------------------------- */

static sim_name *find_in(sim_disk *d, const sim_inode *dir, const char *text, size_t n)
{
    for (sim_name *at = d->names; at != NULL; at = at->next)
        if (at->cached && at->dir == dir && strlen(at->text) == n && memcmp(at->text, text, n) == 0)
            return at;
    return NULL;
}

/* The folder that a name is in, and its last part. False: there is no such folder. */
static bool walk(sim_disk *d, const char *text, sim_inode **dir, const char **last)
{
    *dir = NULL;
    for (const char *slash; (slash = strchr(text, '/')) != NULL; text = slash + 1) {
        sim_name *n = find_in(d, *dir, text, (size_t)(slash - text));
        if (n == NULL || !n->file->folder)
            return false;
        *dir = n->file;
    }
    *last = text;
    return true;
}

sim_name *sim_find(sim_disk *d, const char *text)
{
    sim_inode *dir;
    const char *last;
    return walk(d, text, &dir, &last) ? find_in(d, dir, last, strlen(last)) : NULL;
}

/* The entry for a name, made if there never was one. */
static sim_name *entry(sim_disk *d, const char *text)
{
    sim_inode *dir;
    const char *last;
    if (!walk(d, text, &dir, &last))
        return NULL;
    for (sim_name *n = d->names; n != NULL; n = n->next)
        if (n->dir == dir && strcmp(n->text, last) == 0)
            return n;
    sim_name *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    strcpy(n->text, last); /* sim_check_name has seen it */
    n->dir = dir;
    sim_hold(dir);
    n->next = d->names;
    d->names = n;
    return n;
}

bool sim_is_folder(sim_disk *d, const char *text, sim_inode **dir)
{
    sim_name *n = *text ? sim_find(d, text) : NULL;
    *dir = n ? n->file : NULL;
    return *text == '\0' || (n != NULL && n->file->folder);
}

bool sim_is_empty(sim_disk *d, const sim_inode *dir)
{
    for (sim_name *n = d->names; n != NULL; n = n->next)
        if (n->cached && n->dir == dir)
            return false;
    return true;
}

int sim_check_name(sim_disk *d, const char *text)
{
    sim_inode *dir;
    const char *last;
    if (*text == '\0' || strlen(text) > FC_DISK_NAME_MAX)
        return *text ? -ENAMETOOLONG : -ENOENT;
    return walk(d, text, &dir, &last) && *last ? 0 : -ENOENT;
}

static void set_cached(sim_disk *d, sim_name *n, bool exists, sim_inode *file)
{
    sim_hold(file);
    sim_drop(d, n->file);
    n->cached = exists;
    n->file = file;
}

static void keep(sim_disk *d, sim_name *n, bool exists, sim_inode *file)
{
    sim_hold(file);
    sim_drop(d, n->kept_file);
    n->kept = exists;
    n->kept_file = file;
}

/* Makes a change in the cache and remembers it for the platter. */
int sim_change_names(sim_disk *d, const char *set, sim_inode *file, sim_name *unset)
{
    sim_name *named = set == NULL ? NULL : entry(d, set);
    sim_name_change *c = malloc(sizeof *c);
    if (c == NULL || (set != NULL && named == NULL)) {
        free(c);
        return -ENOMEM;
    }
    *c = (sim_name_change){NULL, named, unset, file};
    sim_hold(file);
    *d->pending_last = c;
    d->pending_last = &c->next;
    if (named != NULL)
        set_cached(d, named, true, file);
    if (unset != NULL)
        set_cached(d, unset, false, NULL);
    return 0;
}

static void carry(sim_disk *d, const sim_name_change *c)
{
    if (c->set != NULL)
        keep(d, c->set, true, c->file);
    if (c->unset != NULL)
        keep(d, c->unset, false, NULL);
}

/* Entries that nothing points at any more: a log uses thousands of names, each once. */
static void sweep_names(sim_disk *d)
{
    if (d->pending != NULL)
        return;
    for (sim_name **at = &d->names; *at != NULL;) {
        sim_name *n = *at;
        if (n->cached || n->kept || n->locked) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        sim_drop(d, n->dir);
        free(n);
    }
}

void sim_settle_names(sim_disk *d, const sim_inode *dir, bool lost)
{
    for (sim_name_change **at = &d->pending; *at != NULL;) {
        sim_name_change *c = *at;
        if (!(c->set != NULL && c->set->dir == dir) && !(c->unset != NULL && c->unset->dir == dir)) {
            at = &c->next;
            continue;
        }
        if (!lost)
            carry(d, c);
        *at = c->next;
        sim_drop(d, c->file);
        free(c);
    }
    d->pending_last = &d->pending;
    while (*d->pending_last != NULL)
        d->pending_last = &(*d->pending_last)->next;
    sweep_names(d);
}

/* --- the crash -------------------------------------------------------------------------------------------------------- */

/* What was not synced: each piece of each change may have reached the platter. A piece that did keeps the order of its own
 * changes, for the device writes one version of a sector after the other; different pieces know nothing of each other. */
static int tear(sim_disk *d, sim_inode *node)
{
    for (const sim_change *c = node->first; c != NULL; c = c->next) {
        uint64_t draw = fc_hash_next(&d->chance);
        uint32_t unit = draw & 1 ? SECTOR : PAGE;
        if (c->resize) {
            if (draw & 2 && bytes_resize(&node->platter, c->offset) < 0)
                return -ENOMEM;
            continue;
        }
        uint32_t mode = draw >> 2 & 3; /* all, nothing, or piece by piece */
        for (uint64_t at = c->offset, end = c->offset + c->n; at < end;) {
            uint64_t next = (at / unit + 1) * unit;
            next = next < end ? next : end;
            bool there = mode == 0 || (mode > 1 && fc_hash_next(&d->chance) & 1);
            if (there && bytes_write(&node->platter, at, c->data + (at - c->offset), next - at) < 0)
                return -ENOMEM;
            at = next;
        }
    }
    sim_forget_bytes(node);
    return bytes_copy(&node->cache, &node->platter);
}

static bool is_reachable(const sim_disk *d, const sim_inode *dir)
{
    if (dir == NULL)
        return true;
    for (const sim_name *n = d->names; n != NULL; n = n->next)
        if (n->kept && n->kept_file == dir)
            return is_reachable(d, n->dir);
    return false;
}

/* What is in a folder whose own name was lost is lost with it. */
static void lose_orphans(sim_disk *d)
{
    for (sim_name *n = d->names; n != NULL; n = n->next) {
        if (is_reachable(d, n->dir))
            continue;
        set_cached(d, n, false, NULL);
        keep(d, n, false, NULL);
    }
}

static void free_pending(sim_disk *d, bool by_chance)
{
    for (sim_name_change *c = d->pending, *next; c != NULL; c = next) {
        next = c->next;
        if (by_chance && fc_hash_next(&d->chance) & 1)
            carry(d, c);
        sim_drop(d, c->file);
        free(c);
    }
    d->pending = NULL;
    d->pending_last = &d->pending;
}

int sim_crash_state(sim_disk *d)
{
    int error = 0;
    free_pending(d, true);
    for (sim_name *n = d->names; n != NULL; n = n->next) {
        set_cached(d, n, n->kept, n->kept_file);
        n->locked = false;
    }
    lose_orphans(d);
    for (sim_inode *node = d->inodes; node != NULL && error == 0; node = node->next)
        error = tear(d, node);
    d->used = 0;
    for (sim_inode *node = d->inodes; node != NULL; node = node->next)
        d->used += node->cache.n;
    sweep_names(d);
    return error;
}

void sim_free_state(sim_disk *d)
{
    free_pending(d, false);
    for (sim_name *n = d->names, *next; n != NULL; n = next) {
        next = n->next;
        sim_drop(d, n->file);
        sim_drop(d, n->kept_file);
        sim_drop(d, n->dir);
        free(n);
    }
    d->names = NULL;
}
