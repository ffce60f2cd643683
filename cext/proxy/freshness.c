#include "fc/freshness.h"

#include <string.h>
#include <strings.h>
#include <time.h>

static fc_slice at(const char *base, fc_span s) { return (fc_slice){base + s.off, s.len}; }

static bool is(fc_slice s, const char *text) { return s.n == strlen(text) && strncasecmp(s.p, text, s.n) == 0; }

static fc_slice trim(fc_slice s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t'))
        s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* The next member of a comma-separated list; commas in quoted strings part nothing. False at the end. */
static bool next_member(fc_slice *list, fc_slice *member)
{
    if (!list->n)
        return false;
    bool quoted = false;
    size_t i = 0;
    for (; i < list->n && (quoted || list->p[i] != ','); i++) {
        if (list->p[i] == '"')
            quoted = !quoted;
        else if (quoted && list->p[i] == '\\')
            i++;
    }
    i = i < list->n ? i : list->n;
    *member = trim((fc_slice){list->p, i});
    i += i < list->n;
    list->p += i;
    list->n -= i;
    return true;
}

/* --- Cache-Control ----------------------------------------------------------------------------------------------- */

/* delta-seconds, also as a quoted string (5.2: recipients ought to accept both). */
static bool delta(fc_slice value, uint32_t *out)
{
    if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
        value = (fc_slice){value.p + 1, value.n - 2};
    uint64_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(value.p[i] - '0');
        n = n < FC_DELTA_MAX ? n : FC_DELTA_MAX;
    }
    *out = (uint32_t)n;
    return value.n > 0;
}

static void set_delta(fc_cache_control *cc, bool *has, uint32_t *to, fc_slice value)
{
    uint32_t n = 0;
    if (!delta(value, &n) || (*has && *to != n)) {
        cc->contradicts = true;
        n = 0;
    }
    *has = true;
    *to = n;
}

void fc_cache_control_add(fc_cache_control *cc, fc_slice list)
{
    fc_slice member;
    cc->present = true;
    while (next_member(&list, &member)) {
        const char *equals = memchr(member.p, '=', member.n);
        size_t n = equals ? (size_t)(equals - member.p) : member.n;
        fc_slice name = trim((fc_slice){member.p, n});
        fc_slice value = equals ? trim((fc_slice){equals + 1, member.n - n - 1}) : (fc_slice){NULL, 0};
        if (is(name, "max-age"))
            set_delta(cc, &cc->has_max_age, &cc->max_age, value);
        else if (is(name, "s-maxage"))
            set_delta(cc, &cc->has_s_maxage, &cc->s_maxage, value);
        else if (is(name, "min-fresh"))
            set_delta(cc, &cc->has_min_fresh, &cc->min_fresh, value);
        else if (is(name, "stale-while-revalidate"))
            set_delta(cc, &cc->has_while_revalidate, &cc->while_revalidate, value);
        else if (is(name, "stale-if-error"))
            set_delta(cc, &cc->has_if_error, &cc->if_error, value);
        else if (is(name, "max-stale") && !equals)
            cc->has_max_stale = cc->max_stale_any = true;
        else if (is(name, "max-stale"))
            set_delta(cc, &cc->has_max_stale, &cc->max_stale, value);
        /* private and no-cache may name fields they are meant for; a cache may take them as meant for all (5.2.2.4, .7) */
        else if (is(name, "no-cache"))
            cc->no_cache = true;
        else if (is(name, "private"))
            cc->is_private = true;
        else if (is(name, "no-store"))
            cc->no_store = true;
        else if (is(name, "public"))
            cc->is_public = true;
        else if (is(name, "must-revalidate"))
            cc->must_revalidate = true;
        else if (is(name, "proxy-revalidate"))
            cc->proxy_revalidate = true;
        else if (is(name, "must-understand"))
            cc->must_understand = true;
        else if (is(name, "no-transform"))
            cc->no_transform = true;
        else if (is(name, "only-if-cached"))
            cc->only_if_cached = true;
    }
}

/* --- dates ------------------------------------------------------------------------------------------------------- */

static const char *const months = "JanFebMarAprMayJunJulAugSepOctNovDec";

static int number(const char *p, int digits)
{
    int n = 0;
    for (int i = 0; i < digits; i++) {
        if (p[i] == ' ' && i == 0 && digits == 2) /* asctime: " 6" */
            continue;
        if (p[i] < '0' || p[i] > '9')
            return -1;
        n = n * 10 + (p[i] - '0');
    }
    return n;
}

static int64_t seconds_of(const char *day, const char *month, const char *year, int year_digits, const char *clock,
                          int64_t now)
{
    struct tm tm = {0};
    const char *found = NULL;
    for (int i = 0; i < 12 && !found; i++)
        if (strncmp(months + 3 * i, month, 3) == 0)
            found = months + 3 * i;
    tm.tm_mday = number(day, 2);
    int y = number(year, year_digits);
    if (!found || tm.tm_mday < 1 || tm.tm_mday > 31 || y < 0 || clock[2] != ':' || clock[5] != ':')
        return -1;
    tm.tm_mon = (int)(found - months) / 3;
    tm.tm_hour = number(clock, 2);
    tm.tm_min = number(clock + 3, 2);
    tm.tm_sec = number(clock + 6, 2);
    if (tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
        return -1;
    if (year_digits == 2) { /* more than 50 years ahead means the century before */
        struct tm today;
        time_t t = (time_t)now;
        gmtime_r(&t, &today);
        y += (today.tm_year + 1900) / 100 * 100;
        if (y > today.tm_year + 1900 + 50)
            y -= 100;
    }
    tm.tm_year = y - 1900;
    int64_t made = (int64_t)timegm(&tm);
    return made < 0 ? 0 : made;
}

int64_t fc_http_date(fc_slice t, int64_t now)
{
    const char *p = t.p;
    if (t.n == 29 && p[3] == ',' && p[4] == ' ' && p[7] == ' ' && p[11] == ' ' && p[16] == ' ' && memcmp(p + 25, " GMT", 4) == 0)
        return seconds_of(p + 5, p + 8, p + 12, 4, p + 17, now);
    if (t.n == 24 && p[3] == ' ' && p[7] == ' ' && p[10] == ' ' && p[19] == ' ') /* asctime */
        return seconds_of(p + 8, p + 4, p + 20, 4, p + 11, now);
    const char *comma = memchr(p, ',', t.n); /* RFC 850: Sunday, 06-Nov-94 08:49:37 GMT */
    if (comma && t.n - (size_t)(comma - p) == 24 && comma[1] == ' ' && comma[4] == '-' && comma[8] == '-' &&
        comma[11] == ' ' && memcmp(comma + 20, " GMT", 4) == 0)
        return seconds_of(comma + 2, comma + 5, comma + 9, 2, comma + 12, now);
    return -1;
}

/* --- facts ------------------------------------------------------------------------------------------------------- */

static void add_vary(fc_reply_facts *f, fc_slice list)
{
    fc_slice member;
    while (next_member(&list, &member)) {
        if (!member.n)
            continue;
        if (is(member, "*") || f->vary_len == FC_VARY_MAX)
            f->vary_any = true; /* also for more than we keep: never reused is right, if slow */
        else
            f->vary[f->vary_len++] = member;
    }
}

void fc_reply_facts_of(const fc_http1_head *head, const char *base, int64_t now, fc_reply_facts *f)
{
    fc_cache_control targeted = {0};
    memset(f, 0, sizeof *f);
    f->status = head->status;
    f->date = f->expires = f->last_modified = -1;
    for (uint32_t i = 0; i < head->fields_len; i++) {
        fc_slice name = at(base, head->fields[i].name), value = at(base, head->fields[i].value);
        switch (name.n) {
        case 3:
            if (is(name, "Age")) {
                uint32_t age;
                if (delta(value, &age) && age > f->age)
                    f->age = age;
            }
            break;
        case 4:
            if (is(name, "Date"))
                f->date = fc_http_date(value, now);
            else if (is(name, "ETag")) {
                f->has_etag = true;
                f->etag = value;
                f->weak_etag = value.n > 2 && value.p[0] == 'W' && value.p[1] == '/';
            } else if (is(name, "Vary"))
                add_vary(f, value);
            break;
        case 7:
            if (is(name, "Expires")) {
                int64_t when = fc_http_date(value, now);
                when = when < 0 ? 0 : when;
                f->expires = f->expires < 0 || when < f->expires ? when : f->expires;
            }
            break;
        case 10:
            if (is(name, "Set-Cookie"))
                f->set_cookie = true;
            break;
        case 13:
            if (is(name, "Cache-Control"))
                fc_cache_control_add(&f->cc, value);
            else if (is(name, "Last-Modified")) {
                f->last_modified = fc_http_date(value, now);
                f->last_modified_text = value;
            }
            break;
        case 17:
            if (is(name, "CDN-Cache-Control"))
                fc_cache_control_add(&targeted, value);
            break;
        }
    }
    if (targeted.present && !targeted.contradicts) { /* RFC 9213 2.2: then Cache-Control and Expires are not for us */
        f->cc = targeted;
        f->expires = -1;
    }
    if (f->date < 0)
        f->date = now;
}

void fc_request_facts_of(const fc_http1_head *head, const char *base, fc_request_facts *f)
{
    bool pragma = false;
    memset(f, 0, sizeof *f);
    for (uint32_t i = 0; i < head->fields_len; i++) {
        fc_slice name = at(base, head->fields[i].name), value = at(base, head->fields[i].value);
        if (head->fields[i].id == FC_FIELD_AUTHORIZATION)
            f->authorized = true;
        else if (name.n == 13 && is(name, "Cache-Control"))
            fc_cache_control_add(&f->cc, value);
        else if (name.n == 6 && is(name, "Pragma"))
            pragma |= fc_http_list_has(value.p, value.n, "no-cache", 8);
    }
    if (pragma && !f->cc.present) /* 5.4 */
        f->cc.no_cache = true;
}

/* --- storing ----------------------------------------------------------------------------------------------------- */

/* Statuses whose meaning for caches we know (must-understand), and that may be stored without a word (RFC 9110 15.1). */
static bool understood(unsigned status)
{
    switch (status) {
    case 200: case 203: case 204: case 300: case 301: case 308: case 404: case 405: case 410: case 414: case 451: case 501:
        return true;
    default:
        return false;
    }
}

/* Final ones that say how long they may be used are stored as well, but for those that are about one request alone. */
static bool about_one_request(unsigned status)
{
    return status < 200 || status == 206 || status == 304 || status == 401 || status == 407 || status == 412 ||
           status == 416 || status == 417 || status == 421 || status == 426 || status == 429;
}

static bool says_how_long(const fc_reply_facts *r)
{
    return r->cc.has_max_age || r->cc.has_s_maxage || r->expires >= 0;
}

bool fc_may_store(const fc_request_facts *q, const fc_reply_facts *r, const fc_cache_policy *policy, const char **why)
{
    const fc_cache_control *cc = &r->cc;
    *why = NULL;
    if (q->cc.no_store && !policy->ignore_client)
        *why = "request-no-store";
    else if (about_one_request(r->status))
        *why = "status";
    else if (cc->no_store && !(cc->must_understand && understood(r->status))) /* 5.2.2.3 */
        *why = "no-store";
    else if (cc->must_understand && !understood(r->status))
        *why = "not-understood";
    else if (cc->is_private)
        *why = "private";
    else if (q->authorized && !cc->is_public && !cc->must_revalidate && !cc->has_s_maxage) /* 3.5 */
        *why = "authorization";
    else if (r->vary_any)
        *why = "vary";
    else if (r->set_cookie && !policy->store_cookies)
        *why = "set-cookie";
    else if (!says_how_long(r) && !cc->is_public && !cc->no_cache && !understood(r->status))
        *why = "no-lifetime";
    else if (fc_lifetime(r, policy) == 0 && !r->has_etag && r->last_modified < 0)
        *why = "no-lifetime"; /* and nothing to validate it by */
    return *why == NULL;
}

uint32_t fc_lifetime(const fc_reply_facts *r, const fc_cache_policy *policy)
{
    const fc_cache_control *cc = &r->cc;
    uint64_t s;
    if (cc->no_cache || cc->contradicts)
        return 0;
    if (cc->has_s_maxage)
        s = cc->s_maxage;
    else if (cc->has_max_age)
        s = cc->max_age;
    else if (r->expires >= 0)
        s = r->expires > r->date ? (uint64_t)(r->expires - r->date) : 0;
    else if (policy->default_ttl_s)
        s = policy->default_ttl_s;
    else if (r->last_modified >= 0 && r->last_modified < r->date && (understood(r->status) || cc->is_public)) {
        s = (uint64_t)(r->date - r->last_modified) / 10;
        s = s < policy->heuristic_max_s ? s : policy->heuristic_max_s;
    } else
        s = 0;
    s = s < FC_DELTA_MAX ? s : FC_DELTA_MAX;
    return policy->ttl_max_s && s > policy->ttl_max_s ? policy->ttl_max_s : (uint32_t)s;
}

uint32_t fc_initial_age(const fc_reply_facts *r, int64_t now, uint32_t took_s)
{
    uint64_t apparent = now > r->date ? (uint64_t)(now - r->date) : 0;
    uint64_t corrected = (uint64_t)r->age + took_s;
    uint64_t age = apparent > corrected ? apparent : corrected;
    return age < FC_DELTA_MAX ? (uint32_t)age : FC_DELTA_MAX;
}

/* --- reusing ----------------------------------------------------------------------------------------------------- */

static uint32_t staleness(const fc_stored_facts *s)
{
    return s->age > s->lifetime ? s->age - s->lifetime : 0;
}

fc_reuse fc_may_reuse(const fc_stored_facts *s, const fc_cache_control *q, bool ignore_client)
{
    static const fc_cache_control silent;
    q = ignore_client ? &silent : q;
    bool fresh = s->lifetime > s->age && !s->no_cache && !s->invalidated;
    if (q->no_cache || s->no_cache)
        return FC_REUSE_VALIDATE;
    if (q->has_max_age && s->age > q->max_age && !q->has_max_stale)
        return FC_REUSE_VALIDATE;
    if (q->has_min_fresh && (!fresh || s->lifetime - s->age < q->min_fresh))
        return FC_REUSE_VALIDATE;
    if (fresh)
        return FC_REUSE_FRESH;
    if (s->must_revalidate)
        return FC_REUSE_VALIDATE;
    if (q->has_max_stale && !s->invalidated && (q->max_stale_any || staleness(s) <= q->max_stale))
        return FC_REUSE_STALE;
    return s->while_revalidate && staleness(s) < s->while_revalidate ? FC_REUSE_WHILE_REVALIDATE : FC_REUSE_VALIDATE;
}

bool fc_may_reuse_on_error(const fc_stored_facts *s)
{
    return !s->must_revalidate && !s->no_cache && s->if_error && staleness(s) < s->if_error;
}

/* --- validators and ranges --------------------------------------------------------------------------------------- */

static fc_slice opaque(fc_slice tag)
{
    return tag.n > 2 && tag.p[0] == 'W' && tag.p[1] == '/' ? (fc_slice){tag.p + 2, tag.n - 2} : tag;
}

static bool same(fc_slice a, fc_slice b) { return a.n == b.n && memcmp(a.p, b.p, a.n) == 0; }

bool fc_not_modified(const fc_http1_head *head, const char *base, fc_slice etag, int64_t last_modified, int64_t now)
{
    bool has_none_match = false, matches = false, since = false;
    for (uint32_t i = 0; i < head->fields_len; i++) {
        fc_slice name = at(base, head->fields[i].name), value = at(base, head->fields[i].value), member;
        if (name.n == 13 && is(name, "If-None-Match")) {
            has_none_match = true;
            while (next_member(&value, &member)) /* weak comparison (RFC 9110 13.1.2) */
                matches |= is(member, "*") || (etag.n && same(opaque(member), opaque(etag)));
        } else if (name.n == 17 && is(name, "If-Modified-Since") && last_modified >= 0) {
            int64_t when = fc_http_date(value, now);
            since = when >= 0 && last_modified <= when;
        }
    }
    return has_none_match ? matches : since;
}

/* If-Range: strong comparison, or the very date (RFC 9110 13.1.5). */
static bool if_range_holds(fc_slice value, fc_slice etag, fc_slice last_modified)
{
    if (value.n && (value.p[0] == '"' || value.p[0] == 'W'))
        return value.p[0] == '"' && same(value, etag);
    return last_modified.n && same(value, last_modified);
}

static bool take_number(fc_slice *s, uint64_t *out)
{
    size_t i = 0;
    *out = 0;
    for (; i < s->n && s->p[i] >= '0' && s->p[i] <= '9'; i++) {
        if (*out > UINT64_MAX / 10 - 1)
            return false;
        *out = *out * 10 + (uint64_t)(s->p[i] - '0');
    }
    s->p += i;
    s->n -= i;
    return i > 0;
}

fc_range_answer fc_range_of(const fc_http1_head *head, const char *base, fc_slice etag, fc_slice last_modified, uint64_t n,
                            uint64_t *from, uint64_t *len)
{
    fc_slice range = {NULL, 0};
    for (uint32_t i = 0; i < head->fields_len; i++) {
        fc_slice name = at(base, head->fields[i].name), value = at(base, head->fields[i].value);
        if (name.n == 5 && is(name, "Range")) {
            if (range.p)
                return FC_RANGE_NONE;
            range = value;
        } else if (name.n == 8 && is(name, "If-Range") && !if_range_holds(value, etag, last_modified))
            return FC_RANGE_NONE;
    }
    if (head->method_id != FC_METHOD_GET || range.n < 7 || strncasecmp(range.p, "bytes=", 6) != 0)
        return FC_RANGE_NONE;
    range = trim((fc_slice){range.p + 6, range.n - 6});
    uint64_t first, last;
    if (range.n && *range.p == '-') { /* the last so many */
        range.p++, range.n--;
        if (!take_number(&range, &last) || range.n)
            return FC_RANGE_NONE;
        if (last == 0 || n == 0)
            return FC_RANGE_UNSATISFIABLE;
        *len = last < n ? last : n;
        *from = n - *len;
        return FC_RANGE_PART;
    }
    if (!take_number(&range, &first) || !range.n || *range.p != '-')
        return FC_RANGE_NONE;
    range.p++, range.n--;
    last = UINT64_MAX;
    if (range.n && (!take_number(&range, &last) || range.n || last < first))
        return FC_RANGE_NONE; /* several, or no range */
    if (first >= n)
        return FC_RANGE_UNSATISFIABLE;
    *from = first;
    *len = (last < n - 1 ? last : n - 1) - first + 1;
    return FC_RANGE_PART;
}
