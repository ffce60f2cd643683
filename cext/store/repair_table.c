/* Repair of tables: each is looked at; of a damaged one what is sound becomes a new table in its place. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "repair.h"

static repair_item *current(fc_store_repair *r) { return &r->items[r->next]; }

/* Known before it is looked at, or what the file says of itself. */
static uint32_t owner_of(fc_store_repair *r, uint32_t in_file, bool known)
{
    uint32_t id = current(r)->keyspace;
    return id != REPAIR_NOBODY || !known ? id : in_file;
}

static int damaged(fc_store_repair *r, uint32_t keyspace)
{
    repair_keyspace *k = keyspace == REPAIR_NOBODY ? NULL : repair_keyspace_of(r, keyspace);
    if (k) {
        uint64_t seq = current(r)->said.bounds ? current(r)->said.meta.last_seq : FC_SEQ_MAX;
        k->damaged = true;
        k->damaged_seq = seq > k->damaged_seq ? seq : k->damaged_seq;
    }
    r->report.changed = true;
    return k || keyspace == REPAIR_NOBODY ? 0 : -ENOMEM;
}

static int next_item(fc_store_repair *r)
{
    r->report.bytes_done += current(r)->bytes;
    r->next++;
    return 1;
}

/* --- a sound one ------------------------------------------------------------------------------------------------ */

static int keep(fc_store_repair *r)
{
    repair_item *i = current(r);
    const fc_table_properties *p = fc_table_get_properties(r->look.table);
    fc_table_meta meta = fc_table_meta_of(p);
    uint32_t id = owner_of(r, p->owner, true);
    inventory_keyspace *ks = inventory_find(&r->inventory, id);
    if (ks && ks->dropped) { /* its files had not been removed yet */
        r->report.changed = true;
        return repair_move(r, r->look.name);
    }
    if (i->said.bounds && (i->said.meta.bytes != meta.bytes || i->said.meta.entries != meta.entries ||
                           i->said.meta.last_seq != meta.last_seq ||
                           !fc_key_equal(i->said.meta.smallest, meta.smallest) ||
                           !fc_key_equal(i->said.meta.largest, meta.largest)))
        r->report.changed = true;
    ks = repair_need(r, id);
    r->report.tables_sound++;
    return ks ? inventory_add_table(ks, i->level, &meta) : -ENOMEM;
}

/* --- a damaged one ---------------------------------------------------------------------------------------------- */

static int take_entry(void *ctx, fc_slice user, uint64_t tag, fc_slice value)
{
    fc_store_repair *r = ctx;
    r->report.entries_salvaged++;
    return fc_table_add(r->writer, user, tag, value);
}

static int take_range(void *ctx, const fc_range *range)
{
    fc_store_repair *r = ctx;
    return fc_table_add_range(r->writer, range);
}

static void take_loss(void *ctx, const fc_salvage_loss *l)
{
    fc_store_repair *r = ctx;
    const repair_item *i = current(r);
    uint32_t in_file, id = owner_of(r, 0, false);
    if (fc_table_salvage_owner(r->salvage, &in_file))
        id = owner_of(r, in_file, true);
    fc_store_loss loss = {.damage = {.offset = l->offset, .what = l->what},
                          .bytes = l->bytes,
                          .keyspace = id,
                          .keyspace_known = id != REPAIR_NOBODY,
                          .from_known = l->from_known || i->said.bounds,
                          .to_known = l->to_known || i->said.bounds,
                          .first_seq = i->said.meta.first_seq,
                          .from = l->from_known ? l->from : i->said.meta.smallest,
                          .to = l->to_known ? l->to : i->said.meta.largest};
    store_table_name(loss.damage.name, i->number);
    r->no_memory = repair_lose(r, &loss) < 0 || damaged(r, id) < 0 || r->no_memory;
}

static int lose_table(fc_store_repair *r, const char *what)
{
    const repair_item *i = current(r);
    fc_store_loss loss = {.damage = {.what = what},
                          .bytes = i->bytes,
                          .keyspace = i->keyspace,
                          .keyspace_known = i->keyspace != REPAIR_NOBODY,
                          .from_known = i->said.bounds,
                          .to_known = i->said.bounds,
                          .first_seq = i->said.meta.first_seq,
                          .from = i->said.meta.smallest,
                          .to = i->said.meta.largest};
    store_table_name(loss.damage.name, i->number);
    r->report.tables_lost++;
    int error = damaged(r, i->keyspace);
    return error == 0 ? repair_lose(r, &loss) : error;
}

/* Opens what the damaged table's sound blocks go into. 1; 0 when nobody knows whose they are, or wants them; or an
 * error. */
static int begin_salvage(fc_store_repair *r)
{
    repair_item *i = current(r);
    uint32_t in_file;
    int error = fc_table_salvage_open(r->disk, r->look.name, i->number, &r->codecs, &r->salvage);
    if (error < 0)
        return error;
    if (fc_table_salvage_owner(r->salvage, &in_file))
        i->keyspace = owner_of(r, in_file, true);
    r->report.changed = true;
    inventory_keyspace *ks = inventory_find(&r->inventory, i->keyspace);
    error = repair_move(r, r->look.name);
    if (error == 0 && ks && ks->dropped)
        return 0;
    if (error == 0 && i->keyspace == REPAIR_NOBODY)
        return lose_table(r, "a damaged table, and nothing says which keyspace it is of");
    if (error == 0)
        error = repair_need(r, i->keyspace) ? 0 : -ENOMEM;
    if (error == 0)
        error = repair_writer(r, i->keyspace, &r->writer, &r->writing);
    return error < 0 ? error : 1;
}

static int end_salvage(fc_store_repair *r)
{
    repair_item *i = current(r);
    uint64_t before = r->report.tables_written;
    int error = r->writer ? repair_writer_end(r, i->keyspace, i->level, r->writer) : 0;
    if (r->writer && error == 0) {
        r->report.tables_salvaged += r->report.tables_written > before;
        r->report.tables_lost += r->report.tables_written == before;
    }
    r->writer = NULL;
    fc_table_salvage_close(r->salvage);
    r->salvage = NULL;
    return error < 0 ? error : next_item(r);
}

static int step_salvage(fc_store_repair *r)
{
    int answer = r->writer ? fc_table_salvage_step(r->salvage, &(fc_salvage_sink){take_entry, take_range, take_loss, r})
                           : 0;
    if (r->no_memory)
        return -ENOMEM;
    return answer == 0 ? end_salvage(r) : answer;
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

/* The table has been looked at as a whole. */
static int judge(fc_store_repair *r, bool there)
{
    int error;
    if (r->look.problems == 0) {
        error = keep(r);
        store_look_close(&r->look);
        return error < 0 ? error : next_item(r);
    }
    store_look_close(&r->look);
    if (r->look.unreadable) /* not damaged: the library it is compressed with is missing */
        return FC_TABLE_ECODEC;
    if (!there) {
        error = lose_table(r, "the table is missing");
        return error < 0 ? error : next_item(r);
    }
    error = begin_salvage(r);
    return error < 0 ? error : 1;
}

int repair_step_tables(fc_store_repair *r)
{
    if (r->next == r->items_n)
        return 0;
    if (r->salvage)
        return step_salvage(r);
    if (r->look.table == NULL) {
        int answer = store_look_open(&r->look, r->disk, &r->codecs, current(r)->number, NULL);
        return answer == 0 ? judge(r, !r->look.missing) : answer;
    }
    int answer = store_look_step(&r->look);
    return answer == 0 ? judge(r, true) : answer;
}
