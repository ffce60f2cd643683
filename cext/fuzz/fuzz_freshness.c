/* What a cache concludes from any two heads: in bounds, and by its own rules. The input is a request's head, a NUL, and an
 * answer's. */
#include <stdlib.h>
#include <string.h>

#include "fc/freshness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIELDS 64
#define NOW 1700000000

static void must(bool what)
{
    if (!what)
        abort();
}

static void reuse(const fc_request_facts *request, uint32_t lifetime, uint32_t age)
{
    fc_stored_facts stored = {.lifetime = lifetime, .age = age};
    fc_reuse answer = fc_may_reuse(&stored, &request->cc, false);
    must(answer != FC_REUSE_FRESH || age < lifetime);
    must(answer != FC_REUSE_WHILE_REVALIDATE); /* nobody allowed it */
    must(fc_may_reuse(&stored, &request->cc, true) == (age < lifetime ? FC_REUSE_FRESH : FC_REUSE_VALIDATE));
    stored.must_revalidate = true;
    must(fc_may_reuse(&stored, &request->cc, false) != FC_REUSE_STALE);
    must(!fc_may_reuse_on_error(&stored));
    stored.no_cache = true;
    must(fc_may_reuse(&stored, &request->cc, false) == FC_REUSE_VALIDATE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fc_http1_field q_fields[FIELDS], r_fields[FIELDS];
    fc_http1_head q = {.fields = q_fields, .fields_max = FIELDS}, r = {.fields = r_fields, .fields_max = FIELDS};
    fc_http1_limits limits = {.head_bytes_max = 8192, .target_bytes_max = 4096};
    const uint8_t *end = memchr(data, 0, size);
    if (!end || size > 16384)
        return 0;
    size_t q_len = (size_t)(end - data), r_len = size - q_len - 1;
    char *request = malloc(q_len + 1), *answer = malloc(r_len + 1); /* of their sizes, for the address sanitizer */
    memcpy(request, data, q_len);
    memcpy(answer, end + 1, r_len);
    if (fc_http1_parse_request(request, q_len, 0, &limits, &q) > 0 &&
        fc_http1_parse_response(answer, r_len, 0, &limits, FC_METHOD_GET, &r) > 0) {
        fc_cache_policy policy = {.heuristic_max_s = 86400, .ttl_max_s = 1000000};
        fc_request_facts asked;
        fc_reply_facts facts;
        const char *why;
        uint64_t from = 0, len = 0;
        fc_request_facts_of(&q, request, &asked);
        fc_reply_facts_of(&r, answer, NOW, &facts);
        uint32_t lifetime = fc_lifetime(&facts, &policy), age = fc_initial_age(&facts, NOW, 3);
        must(lifetime <= policy.ttl_max_s && age <= FC_DELTA_MAX && age >= 3);
        must(facts.vary_len <= FC_VARY_MAX && facts.expires >= -1 && facts.last_modified >= -1 && facts.date >= 0);
        bool stored = fc_may_store(&asked, &facts, &policy, &why);
        must(stored == (why == NULL));
        must(!stored || (!facts.cc.is_private && !asked.cc.no_store && !facts.vary_any));
        must(!stored || !facts.cc.no_store || facts.cc.must_understand);
        reuse(&asked, lifetime, age);
        fc_not_modified(&q, request, facts.etag, facts.last_modified, NOW);
        fc_range_answer part = fc_range_of(&q, request, facts.etag, facts.last_modified_text, 1000, &from, &len);
        must(part != FC_RANGE_PART || (len > 0 && from < 1000 && len <= 1000 - from));
    }
    free(request);
    free(answer);
    return 0;
}
