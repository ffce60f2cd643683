/* upstream_internal.h - what upstream.c, trunk.c, choose.c and upstream_health.c share. */
#ifndef FC_UPSTREAM_INTERNAL_H
#define FC_UPSTREAM_INTERNAL_H

#include "fc/upstream.h"

/* --- upstream.c ---------------------------------------------------------------------------------------------------- */

void fc_endpoint_unref(fc_endpoint *e);
/* Put TLS under a connection to this endpoint. REQUIRES: its upstream has a securer. */
int fc_endpoint_secure(fc_endpoint *e, fc_conn *c);

/* --- trunk.c: sessions of HTTP/2 ------------------------------------------------------------------------------------ */

/* Make c a stream of a session with the endpoint; a new one where none has room. c->established: it can be used at once.
 * 0 or -errno. */
int fc_trunk_open(fc_endpoint *e, fc_upconn *c, const fc_conn_ops *ops);
/* The endpoint is gone: sessions end with their last stream. */
void fc_trunks_retire(fc_endpoint *e);

/* --- choose.c ------------------------------------------------------------------------------------------------------ */

typedef enum fc_choice {
    FC_CHOICE_NONE,   /* every endpoint has been tried, or there is none */
    FC_CHOICE_SICK,   /* those that are left are known to be ill */
    FC_CHOICE_BROKEN, /* the breakers of those that are left are open */
    FC_CHOICE_WAIT,   /* no connection to them is free */
    FC_CHOICE_SOME,
} fc_choice;

/* The endpoints to choose from, as a bit set of FC_BALANCE_WORDS(endpoints) words. */
fc_choice fc_upstream_candidates(fc_upstream *u, const fc_lease *lease, uint64_t from[FC_BALANCE_WORDS_MAX]);

/* --- upstream_health.c --------------------------------------------------------------------------------------------- */

/* May the request go to this upstream, or endpoint, by its breaker? A trial is noted in the lease. */
bool fc_lease_ask_upstream(fc_lease *lease);
bool fc_lease_ask_endpoint(fc_lease *lease, fc_endpoint *e);
/* Would the upstream's breaker hold a request back now? */
bool fc_upstream_stops(const fc_upstream *u);
/* The try at e ended and fc_lease_told was not called: a trial is given back. */
void fc_lease_forget_endpoint(fc_lease *lease, fc_endpoint *e);
void fc_lease_forget_upstream(fc_lease *lease);
/* As fc_lease_told, for an endpoint that no connection was made to. */
void fc_lease_told_of(fc_lease *lease, fc_endpoint *e, fc_outcome outcome);
/* The cell of an endpoint that is new, or whose name has changed. */
void fc_endpoint_claim(fc_endpoint *e);

#endif
