/* fc/unsafe.h - safety steps that a test may leave out, to show that its crashes would notice.
 *
 * FC_UNSAFE(step) is false, and the compiler removes what hangs on it. In a library built with -DFC_TEST_UNSAFE
 * (`make -C cext check VARIANT=unsafe`) it is true for the step that cext/test/test_unsafe_store.c has named, which
 * requires that each one is caught.
 */
#ifndef FC_UNSAFE_H
#define FC_UNSAFE_H

typedef enum fc_unsafe_step {
    FC_UNSAFE_NOTHING = 0,
    FC_UNSAFE_LOG_NOT_SYNCED,        /* a batch counts as durable when it was written */
    FC_UNSAFE_LOG_FOLDER_NOT_SYNCED, /* a new segment's name may be lost */
    FC_UNSAFE_LOG_TORN_RECORD,       /* a record whose checksum is wrong is replayed */
    FC_UNSAFE_LOG_GIVEN_UP_EARLY,    /* before the manifest says that it is not needed */
    FC_UNSAFE_LOG_NOT_WAITED_FOR,    /* a table is installed whose batches may be half in the log */
    FC_UNSAFE_TABLE_NOT_SYNCED,      /* before the manifest names it */
    FC_UNSAFE_TABLE_FOLDER_NOT_SYNCED,
    FC_UNSAFE_TABLE_AFTER_MANIFEST,  /* the manifest names a table that is synced afterwards */
    FC_UNSAFE_TABLES_REMOVED_EARLY,  /* before the manifest says so */
    FC_UNSAFE_MANIFEST_NOT_SYNCED,
    FC_UNSAFE_CURRENT_BEFORE_MANIFEST, /* CURRENT names a manifest that is synced afterwards */
    FC_UNSAFE_CURRENT_FOLDER_NOT_SYNCED,
    FC_UNSAFE_DELETIONS_DROPPED,     /* above the last level */
    FC_UNSAFE_SNAPSHOTS_FORGOTTEN,   /* by compaction */
    FC_UNSAFE_CHECKPOINT_NOT_SYNCED,
    FC_UNSAFE_STEPS,
} fc_unsafe_step;

#ifdef FC_TEST_UNSAFE
extern fc_unsafe_step fc_unsafe_now; /* the test's */
#define FC_UNSAFE(step) (fc_unsafe_now == (step))
#else
#define FC_UNSAFE(step) 0
#endif

#endif
