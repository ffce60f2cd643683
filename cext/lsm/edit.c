#include <errno.h>

#include "bytes.h"
#include "fc/manifest.h"

/* What the items of each kind are made of, in the order of the bytes: a letter for each field. */
static const char *fields_of(unsigned kind)
{
    switch (kind) {
    case FC_EDIT_NUMBER:
        return "in";
    case FC_EDIT_BYTES:
        return "ib";
    case FC_EDIT_KEYSPACE:
        return "kmb";
    case FC_EDIT_DROP:
        return "k";
    case FC_EDIT_ADD_TABLE:
        return "klt";
    case FC_EDIT_REMOVE_TABLE:
        return "klr";
    case FC_EDIT_CURSOR:
        return "klb";
    default:
        return NULL;
    }
}

#define TABLE_NUMBERS(t)                                                                                              \
    {                                                                                                                 \
        &(t)->number, &(t)->bytes, &(t)->entries, &(t)->deletes, &(t)->ranges, &(t)->expiring, &(t)->first_seq,       \
            &(t)->last_seq, &(t)->first_expiry                                                                        \
    }

static void put_table(bytes *b, const fc_table_meta *t)
{
    const uint64_t *numbers[] = TABLE_NUMBERS(t);
    for (size_t i = 0; i < FC_ARRAY_LEN(numbers); i++)
        bytes_put_varint(b, *numbers[i]);
    bytes_put_slice(b, t->smallest);
    bytes_put_slice(b, t->largest);
}

static const char *get_table(const char *p, const char *end, fc_table_meta *t)
{
    uint64_t *numbers[] = TABLE_NUMBERS(t);
    for (size_t i = 0; i < FC_ARRAY_LEN(numbers) && p; i++)
        p = fc_get_varint(p, end, numbers[i]);
    if (p)
        p = get_slice(p, end, &t->smallest);
    return p ? get_slice(p, end, &t->largest) : NULL;
}

static void put_item(bytes *b, const char *fields, const fc_edit_item *item)
{
    for (; *fields; fields++) {
        if (*fields == 'i')
            bytes_put_varint(b, item->id);
        else if (*fields == 'n')
            bytes_put_varint(b, item->number);
        else if (*fields == 'k')
            bytes_put_varint(b, item->keyspace);
        else if (*fields == 'l')
            bytes_put_varint(b, item->level);
        else if (*fields == 'm')
            bytes_put_slice(b, item->name);
        else if (*fields == 'b')
            bytes_put_slice(b, item->bytes);
        else if (*fields == 'r')
            bytes_put_varint(b, item->table.number);
        else
            put_table(b, &item->table);
    }
}

static bool get_item(const char *p, const char *end, const char *fields, fc_edit_item *item)
{
    for (; *fields && p; fields++) {
        if (*fields == 'i')
            p = fc_get_varint32(p, end, &item->id);
        else if (*fields == 'n')
            p = fc_get_varint(p, end, &item->number);
        else if (*fields == 'k')
            p = fc_get_varint32(p, end, &item->keyspace);
        else if (*fields == 'l')
            p = fc_get_varint32(p, end, &item->level);
        else if (*fields == 'm')
            p = get_slice(p, end, &item->name);
        else if (*fields == 'b')
            p = get_slice(p, end, &item->bytes);
        else if (*fields == 'r')
            p = fc_get_varint(p, end, &item->table.number);
        else
            p = get_table(p, end, &item->table);
    }
    return p == end;
}

void fc_edit_add(fc_edit *e, const fc_edit_item *item)
{
    const char *fields = fields_of(item->kind);
    bytes body = {0}, all = {e->p, e->n, e->cap};
    size_t most = 16 * FC_VARINT64_MAX + item->name.n + item->bytes.n + item->table.smallest.n + item->table.largest.n;
    if (e->error < 0)
        return;
    if (fields == NULL || most > FC_MANIFEST_EDIT_MAX || e->n + most > FC_MANIFEST_EDIT_MAX) {
        e->error = FC_MANIFEST_ESIZE;
        return;
    }
    if (!bytes_reserve(&body, most) || !bytes_reserve(&all, most + 2 * FC_VARINT64_MAX)) {
        bytes_free(&body);
        e->error = -ENOMEM;
        return;
    }
    put_item(&body, fields, item);
    bytes_put_varint(&all, item->kind);
    bytes_put_slice(&all, bytes_slice(&body));
    bytes_free(&body);
    e->p = all.p;
    e->n = all.n;
    e->cap = all.cap;
}

void fc_edit_clear(fc_edit *e)
{
    e->n = 0;
    e->error = 0;
}

void fc_edit_free(fc_edit *e)
{
    free(e->p);
    *e = (fc_edit){0};
}

int fc_edit_next(fc_slice edit, size_t *at, fc_edit_item *item)
{
    while (*at < edit.n) {
        const char *p = edit.p + *at, *end = edit.p + edit.n;
        uint32_t kind;
        fc_slice body;
        if (!(p = fc_get_varint32(p, end, &kind)) || !(p = get_slice(p, end, &body)))
            return FC_MANIFEST_EFORMAT;
        *at = (size_t)(p - edit.p);
        const char *fields = fields_of(kind);
        if (fields == NULL && kind >= FC_EDIT_OPTIONAL)
            continue;
        *item = (fc_edit_item){.kind = (fc_edit_kind)kind};
        return fields && get_item(body.p, body.p + body.n, fields, item) ? 1 : FC_MANIFEST_EFORMAT;
    }
    return 0;
}

fc_table_meta fc_table_meta_of(const fc_table_properties *p)
{
    return (fc_table_meta){.number = p->id,
                           .bytes = p->file_bytes,
                           .entries = p->entries,
                           .deletes = p->deletes,
                           .ranges = p->ranges,
                           .expiring = p->expiring,
                           .first_seq = p->first_seq,
                           .last_seq = p->last_seq,
                           .first_expiry = p->first_expiry,
                           .smallest = p->smallest,
                           .largest = p->largest};
}
