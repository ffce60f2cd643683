/* Authentication of an exchange: its route's providers in order, until one knows the client. */
#include <errno.h>

#include "exchange.h"

/* What clients are told. Ours to choose: nothing of a token is in it. */
static const char *const reasons[FC_AUTH_REASON_COUNT] = {
    [FC_AUTH_OK] = "",
    [FC_AUTH_MISSING] = "this route needs a credential",
    [FC_AUTH_MALFORMED] = "the token is malformed",
    [FC_AUTH_ALGORITHM] = "the token's algorithm is not the one of its key",
    [FC_AUTH_UNKNOWN_KEY] = "the token's key is not known here",
    [FC_AUTH_SIGNATURE] = "the token's signature is wrong",
    [FC_AUTH_CRITICAL] = "the token has critical extensions",
    [FC_AUTH_ISSUER] = "the token's issuer is not accepted here",
    [FC_AUTH_AUDIENCE] = "the token is meant for another audience",
    [FC_AUTH_EXPIRED] = "the token has expired",
    [FC_AUTH_EARLY] = "the token is not valid yet",
    [FC_AUTH_CLAIM] = "the token lacks a required claim",
    [FC_AUTH_UNKNOWN] = "the API key is not known here",
    [FC_AUTH_INACTIVE] = "the token is not active",
    [FC_AUTH_REVOKED] = "the credential has been revoked",
    [FC_AUTH_SCOPE] = "the credential does not cover this route",
    [FC_AUTH_UNAVAILABLE] = "credentials cannot be verified now",
    [FC_AUTH_BUSY] = "too many credentials wait to be verified",
};

static void tally(const fc_exchange *ex, uint32_t cell)
{
    const fc_proxy *proxy = proxy_of(ex->req);
    if (proxy->metrics.row)
        proxy->metrics.row[proxy->auth->cell[cell]]++;
}

/* RFC 6750 3: no error code for who presented nothing. Scope names and our name are tokens: nothing to quote. */
static void refuse(fc_exchange *ex, fc_auth_reason reason)
{
    const fc_route_auth *auth = ex->route->auth;
    enum problem problem = (enum problem)(PROBLEM_AUTH + reason);
    char lines[1536];
    fc_text out = fc_text_at(lines, sizeof lines - 1);
    tally(ex, FC_AUTH_CELL_REFUSED + reason);
    if (reason == FC_AUTH_UNAVAILABLE || reason == FC_AUTH_BUSY) {
        problem_answer(ex, problem, reasons[reason], "Retry-After: 1\r\n");
        return;
    }
    bool takes_bearer = false, takes_key = false;
    for (uint32_t i = 0; i < auth->providers_len; i++) {
        takes_bearer |= auth->providers[i]->source == FC_AUTH_BEARER;
        takes_key |= auth->providers[i]->source != FC_AUTH_CERTIFICATE;
    }
    if (takes_bearer)
        FC_TEXT_LIT(&out, "WWW-Authenticate: Bearer realm=\"");
    else if (takes_key)
        FC_TEXT_LIT(&out, "WWW-Authenticate: ApiKey realm=\"");
    else
        FC_TEXT_LIT(&out, "WWW-Authenticate: Certificate realm=\"");
    fc_text_put(&out, proxy_of(ex->req)->settings.name, proxy_of(ex->req)->name_len);
    FC_TEXT_LIT(&out, "\"");
    if (reason == FC_AUTH_SCOPE)
        FC_TEXT_LIT(&out, ", error=\"insufficient_scope\"");
    else if (reason != FC_AUTH_MISSING)
        FC_TEXT_LIT(&out, ", error=\"invalid_token\"");
    if (reason != FC_AUTH_MISSING) {
        FC_TEXT_LIT(&out, ", error_description=\"");
        fc_text_put(&out, reasons[reason], strlen(reasons[reason]));
        FC_TEXT_LIT(&out, "\"");
    }
    if (auth->scope_text.n && auth->scope_text.n < 1024 && (reason == FC_AUTH_SCOPE || reason == FC_AUTH_MISSING)) {
        FC_TEXT_LIT(&out, ", scope=\"");
        fc_text_slice(&out, auth->scope_text);
        FC_TEXT_LIT(&out, "\"");
    }
    FC_TEXT_LIT(&out, "\r\n");
    *out.p = 0;
    problem_answer(ex, problem, reasons[reason], out.overflow ? NULL : lines);
}

/* The verdict in ex->identity: true when this is the client. */
static bool admits(fc_exchange *ex)
{
    const fc_auth_verdict *v = (const fc_auth_verdict *)(const void *)ex->identity->data;
    fc_auth_reason reason = (fc_auth_reason)v->reason;
    uint64_t wanted = ex->route->auth->scopes;
    if (reason == FC_AUTH_OK && (v->scopes & wanted) != wanted)
        reason = FC_AUTH_SCOPE;
    if (reason == FC_AUTH_OK) {
        const char *text = ex->identity->data + sizeof *v;
        ex->subject = (fc_slice){text, v->subject_len};
        ex->identity_fields = (fc_slice){text + v->subject_len, v->fields_len};
        return true;
    }
    /* The first provider that objected says why, unless a later one knew who it is. */
    if (ex->auth_reason == FC_AUTH_MISSING || reason == FC_AUTH_SCOPE)
        ex->auth_reason = (uint8_t)reason;
    return false;
}

static fc_auth_found find(const fc_auth_provider *provider, fc_http_req *req, fc_slice *credential)
{
    fc_conn *conn = &req->conn->conn;
    if (provider->source != FC_AUTH_CERTIFICATE)
        return fc_auth_find(provider, &req->head, req->base, credential);
    if (conn->transport)
        *credential = conn->transport->ops->certificate(conn);
    if (!credential->n)
        return FC_AUTH_ABSENT;
    return credential->n <= FC_AUTH_CREDENTIAL_MAX ? FC_AUTH_FOUND : FC_AUTH_AMBIGUOUS;
}

/* True: go on. False: answered, or parked. */
static bool try_providers(fc_exchange *ex)
{
    fc_http_req *req = ex->req;
    fc_auth *auth = proxy_of(req)->auth;
    const fc_route_auth *wanted = ex->route->auth;
    for (; ex->auth_next < wanted->providers_len; ex->auth_next++) {
        const fc_auth_provider *provider = wanted->providers[ex->auth_next];
        unsigned char key[FC_AUTH_KEY_BYTES];
        fc_slice credential = {NULL, 0};
        fc_auth_found found = find(provider, req, &credential);
        if (found == FC_AUTH_ABSENT)
            continue;
        if (found == FC_AUTH_AMBIGUOUS) {
            tally(ex, FC_AUTH_CELL_REFUSED + FC_AUTH_MALFORMED);
            problem_answer(ex, PROBLEM_BAD_REQUEST, "the credential is malformed, or there are several",
                           "WWW-Authenticate: Bearer error=\"invalid_request\"\r\n");
            return false;
        }
        if (!ex->identity && !(ex->identity = fc_buf_get(req->server->loop->bufs, FC_AUTH_VERDICT_MAX))) {
            problem_answer(ex, PROBLEM_OVERLOADED, "out of buffers", NULL);
            return false;
        }
        fc_auth_key(auth, provider, credential, key);
        if (fc_auth_known(auth, key, ex->identity->data)) {
            if (admits(ex)) {
                tally(ex, FC_AUTH_CELL_KNOWN);
                return true;
            }
            continue;
        }
        if (fc_auth_park(auth, &ex->wait, provider, key, credential) < 0) {
            refuse(ex, FC_AUTH_BUSY);
            return false;
        }
        tally(ex, FC_AUTH_CELL_PARKED);
        ex->state = EX_PARK;
        if (!req->body_done)
            fc_http_pause(req); /* as for a connection: what has come waits, the rest stays with the client */
        return false;
    }
    if (ex->auth_reason == FC_AUTH_MISSING && !wanted->required) {
        tally(ex, FC_AUTH_CELL_ANONYMOUS);
        return true;
    }
    refuse(ex, (fc_auth_reason)ex->auth_reason);
    return false;
}

static void on_settled(fc_auth_wait *wait, const fc_auth_verdict *verdict)
{
    fc_exchange *ex = FC_CONTAINER_OF(wait, fc_exchange, wait);
    ex->state = EX_ROUTE;
    memcpy(ex->identity->data, verdict, sizeof *verdict + verdict->subject_len + verdict->fields_len);
    if (admits(ex)) {
        exchange_go_on(ex);
        return;
    }
    ex->auth_next++;
    if (try_providers(ex))
        exchange_go_on(ex);
}

bool exchange_authenticate(fc_exchange *ex)
{
    ex->auth_next = 0;
    ex->auth_reason = FC_AUTH_MISSING;
    ex->wait.settled = on_settled;
    return try_providers(ex);
}

bool exchange_claims_field(const fc_route_table *table, fc_slice name)
{
    for (uint32_t i = 0; i < table->claimed_len; i++)
        if (fc_auth_same_field(table->claimed[i], name))
            return true;
    return false;
}

bool exchange_withholds(const fc_exchange *ex, const fc_http1_field *field)
{
    const fc_route_auth *auth = ex->route->auth;
    fc_slice name = fc_http_slice(ex->req, field->name);
    for (uint32_t i = 0; i < auth->providers_len; i++) {
        const fc_auth_provider *p = auth->providers[i];
        if (!p->forward && ((p->source == FC_AUTH_BEARER && field->id == FC_FIELD_AUTHORIZATION) ||
                            (p->source == FC_AUTH_HEADER && fc_auth_same_field(p->name, name))))
            return true;
    }
    return false;
}

bool exchange_withholds_parameter(const fc_exchange *ex, fc_slice name)
{
    const fc_route_auth *auth = ex->route->auth;
    for (uint32_t i = 0; i < auth->providers_len; i++) {
        const fc_auth_provider *p = auth->providers[i];
        if (!p->forward && p->source == FC_AUTH_QUERY && p->name.n == name.n && memcmp(p->name.p, name.p, name.n) == 0)
            return true;
    }
    return false;
}

/* Piece by piece, each as it came: somebody may have signed the query. */
void exchange_put_query(fc_text *out, const fc_exchange *ex, fc_slice query)
{
    bool first = true;
    for (bool more = true; more;) {
        fc_slice name, value;
        size_t n = fc_auth_parameter(query, &name, &value);
        if (!exchange_withholds_parameter(ex, name)) {
            fc_text_put(out, first ? "?" : "&", 1);
            fc_text_put(out, query.p, n);
            first = false;
        }
        more = n < query.n;
        query.p += n + more;
        query.n -= n + more;
    }
}

size_t exchange_hide_secrets(const fc_route_table *table, fc_slice query, char *room, size_t room_len)
{
    fc_text out = fc_text_at(room, room_len);
    while (query.n) {
        fc_slice name, value;
        size_t n = fc_auth_parameter(query, &name, &value);
        bool secret = false;
        for (uint32_t i = 0; i < table->secret_parameters_len; i++)
            secret |= table->secret_parameters[i].n == name.n && memcmp(table->secret_parameters[i].p, name.p, name.n) == 0;
        if (secret) {
            fc_text_slice(&out, name);
            FC_TEXT_LIT(&out, "=***");
        } else {
            size_t left = (size_t)(out.end - out.p);
            fc_text_put(&out, query.p, n < left ? n : left);
        }
        if (n < query.n) {
            FC_TEXT_LIT(&out, "&");
            n++;
        }
        query.p += n;
        query.n -= n;
    }
    return fc_text_len(&out);
}
