/* fc/store_check.h - is everything of a store (fc/store.h) as it was written? And what to do when it is not:
 * fc_store_check looks and reports every damage, fc_store_repair makes the store one that opens again.
 *
 * Both go in steps, so that a caller can show how far they are and stop; both hold the store's lock meanwhile, so
 * nobody has it open. docs/storage/operations.md tells operators, and what repair can and cannot bring back.
 *
 * A check looks at CURRENT and the manifest, at every block of every table, at tables against the manifest's metadata
 * and against each other, at the log. It writes nothing but the lock file.
 *
 * Thread safety: one user at a time.
 */
#ifndef FC_STORE_CHECK_H
#define FC_STORE_CHECK_H

#include "fc/store.h"

/* --- problems --------------------------------------------------------------------------------------------------- */

typedef enum fc_problem_kind {
    FC_PROBLEM_DAMAGE = 1, /* bytes that are not what was written */
    FC_PROBLEM_MISSING,    /* a file that ought to be there */
    FC_PROBLEM_UNREADABLE, /* cannot be judged here: compressed by a library that is not on this machine */
    FC_PROBLEM_LEFTOVER,   /* a file that nothing refers to; no damage: the store removes it when it is opened */
} fc_problem_kind;

typedef struct fc_problem {
    fc_problem_kind kind;
    fc_damage damage;
} fc_problem;

#define FC_PROBLEMS_MAX 65536u /* kept; what is beyond is only counted */

/* --- checking --------------------------------------------------------------------------------------------------- */

typedef struct fc_store_check fc_store_check;

typedef struct fc_store_check_report {
    uint64_t bytes_done, bytes; /* of tables and log */
    uint64_t keyspaces, tables, blocks, entries;
    uint64_t log_records, log_torn_bytes; /* torn: not durable when power went, nobody was told that they are there */
    uint64_t damages, missing, unreadable, leftovers;
    bool manifest; /* it could be read: tables were looked at against it */
} fc_store_check_report;

/* 0; FC_STORE_EMISSING: there is nothing of a store; FC_STORE_ELOCKED: somebody has it open; or an error. */
int fc_store_check_open(fc_disk *disk, fc_store_check **out);
/* The tables of a store that is open, as it consists of them now; log and manifest are not looked at. Closed before the
 * store is. */
int fc_store_check_live(fc_store *s, fc_store_check **out);
/* The next piece: 1, more to do; 0, that was all; or an error, which is none of a problem found. */
int fc_store_check_step(fc_store_check *c);
void fc_store_check_get_report(const fc_store_check *c, fc_store_check_report *out);
/* Problems found so far. */
size_t fc_store_check_problems(const fc_store_check *c, const fc_problem **out);
void fc_store_check_close(fc_store_check *c);

/* --- repairing -------------------------------------------------------------------------------------------------- */

/* What repair does:
 *   - sound tables stay; of a damaged one the sound blocks are copied to a new table in its place;
 *   - without a sound manifest the tables on the disk are taken, by the keyspace each says it is of, and merged anew:
 *     their levels, and with them which is newer, are lost. Names and options of keyspaces come from what can be read
 *     of any manifest;
 *   - a damaged log is read up to the damage and beyond it into tables, and a new one begun behind it. Where a table
 *     was damaged and the log still has operations of it, they are taken from there, and are no loss if it has all;
 *   - files that were damaged or replaced are moved into the folder "lost", never removed.
 *
 * Invariants
 *   1. Nothing is made up: every entry afterwards was in a sound block or record, under its own sequence number.
 *   2. Of each key the newest version that is left anywhere is what a reader gets. A deletion that was lost is not
 *      left: what it had deleted may be back.
 *   3. Sequence and file numbers go on above all that were ever seen.
 *   4. A crash at any moment leaves what can be repaired, with nothing lost that was there.
 *   5. A store in which nothing is damaged is not changed.
 */
typedef struct fc_store_repair fc_store_repair;

/* Something that could not be brought back. */
typedef struct fc_store_loss {
    fc_damage damage;
    uint64_t bytes;    /* of the file, lost */
    uint32_t keyspace;
    bool keyspace_known, from_known, to_known;
    fc_slice from, to; /* lost keys are not outside [from, to] */
    uint64_t first_seq; /* no lost operation is older; 0: not known */
} fc_store_loss;

typedef struct fc_store_repair_report {
    uint64_t bytes_done, bytes;
    uint64_t tables_sound, tables_salvaged, tables_lost, tables_written;
    uint64_t entries_salvaged;      /* of damaged tables */
    uint64_t log_records;           /* read into tables */
    uint64_t keyspaces_rebuilt;     /* whose tables were all merged anew */
    uint64_t bytes_lost;
    bool changed;                   /* false: there was nothing to repair */
    bool manifest_lost, log_replaced;
} fc_store_repair_report;

int fc_store_repair_open(fc_disk *disk, fc_store_repair **out);
/* As fc_store_check_step. After an error the store is as it was, but for files nobody refers to: repair it again. */
int fc_store_repair_step(fc_store_repair *r);
void fc_store_repair_get_report(const fc_store_repair *r, fc_store_repair_report *out);
size_t fc_store_repair_losses(const fc_store_repair *r, const fc_store_loss **out);
/* Name of a keyspace that a loss names by its number; false: there is none. */
bool fc_store_repair_keyspace(const fc_store_repair *r, uint32_t id, fc_slice *name);
/* Names of the files that were moved into "lost". */
size_t fc_store_repair_moved(const fc_store_repair *r, const char *const **out);
void fc_store_repair_close(fc_store_repair *r);

#endif
