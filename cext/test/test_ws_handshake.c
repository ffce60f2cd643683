#include "fc/ws_handshake.h"

#include "check.h"
#include "guard.h"

#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define NO_TAKEOVER "permessage-deflate; server_no_context_takeover; "

static fc_deflate_params policy = FC_DEFLATE_PARAMS;
static const fc_slice spoken[] = {{"chat", 4}, {"superchat", 9}};
static fc_ws_handshake_options server = {.protocols = spoken, .protocols_len = 2, .deflate = &policy};

static void field(fc_ws_handshake *h, const char *name, const char *value)
{
    guard a = guard_make(64), b = guard_make(4096);
    fc_ws_handshake_field(h, guard_put(&a, name, strlen(name)), strlen(name), guard_put(&b, value, strlen(value)),
                          strlen(value));
    guard_free(&a);
    guard_free(&b); /* slices are not looked at in these tests, except through copies that stay */
}

/* RFC 6455 1.3. */
static void test_accept(void)
{
    char out[FC_WS_ACCEPT_SIZE], key[FC_WS_KEY_SIZE];
    fc_ws_accept("dGhlIHNhbXBsZSBub25jZQ==", out);
    CHECK(memcmp(out, ACCEPT, sizeof out) == 0);
    fc_ws_key_write((const uint8_t *)"the sample nonce", key);
    CHECK(memcmp(key, "dGhlIHNhbXBsZSBub25jZQ==", sizeof key) == 0 && fc_ws_key_valid(key, sizeof key));
    CHECK(!fc_ws_key_valid("dGhlIHNhbXBsZSBub25jZQ=", 23));
    CHECK(!fc_ws_key_valid("dGhlIHNhbXBsZSBub25jZQ==x", 25));
    CHECK(!fc_ws_key_valid("dGhlIHNhbXBsZSBub25jZ===", 24));
    CHECK(!fc_ws_key_valid("dGhlIHNhbXBsZSBub25jZQ=x", 24));
    CHECK(!fc_ws_key_valid("dGhlIHNhbXBsZSBub25jZQx=", 24));
    CHECK(!fc_ws_key_valid("dGhlIHNhbXBs!SBub25jZQ==", 24));
    CHECK(!fc_ws_key_valid("dGhlIHNhbXBs\0SBub25jZQ==", 24));
}

/* What a server makes of one Sec-WebSocket-Extensions: its answer, "" when nothing was accepted, NULL when refused. */
static void offer(const char *value, const char *answer)
{
    fc_ws_handshake h;
    char text[FC_WS_DEFLATE_TEXT_MAX + 1];
    fc_ws_handshake_init(&h, &server);
    field(&h, "Sec-WebSocket-Extensions", value);
    CHECK((h.refusal != FC_WS_AGREED) == (answer == NULL));
    if (answer == NULL)
        return;
    text[h.has_deflate ? fc_ws_deflate_answer(&h, text) : 0] = 0;
    CHECK(strcmp(text, answer) == 0);
    if (strcmp(text, answer) != 0)
        fprintf(stderr, "%s: got %s\n", value, text);
}

static void test_offers(void)
{
    offer("permessage-deflate", "permessage-deflate");
    offer("permessage-deflate; client_max_window_bits", "permessage-deflate");
    offer("permessage-deflate; client_max_window_bits=10", "permessage-deflate; client_max_window_bits=10");
    offer(" permessage-deflate ;server_max_window_bits = 8", "permessage-deflate; server_max_window_bits=8");
    offer("permessage-deflate; server_max_window_bits=\"12\"", "permessage-deflate; server_max_window_bits=12");
    offer("permessage-deflate; server_max_window_bits=\"1\\2\"", "permessage-deflate; server_max_window_bits=12");
    offer("permessage-deflate; server_no_context_takeover; client_no_context_takeover",
          "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    offer("x-webkit-deflate-frame, permessage-deflate", "permessage-deflate");
    offer("foo; a=b; c=\"d\", bar", "");
    offer("Permessage-Deflate", ""); /* names of extensions are compared as they are */
    static const char *const declined[] = {
        "server_max_window_bits", "server_max_window_bits=7", "server_max_window_bits=16",
        "server_max_window_bits=08", "server_max_window_bits=1", "server_max_window_bits=100",
        "client_max_window_bits=7", "client_max_window_bits=16",
        "server_no_context_takeover=1", "client_no_context_takeover=true", "unknown", "unknown=10",
        "server_no_context_takeover; server_no_context_takeover", "client_max_window_bits; client_max_window_bits=10",
    };
    for (unsigned i = 0; i < FC_ARRAY_LEN(declined); i++) {
        char text[200];
        snprintf(text, sizeof text, "permessage-deflate; %s", declined[i]);
        offer(text, "");
        snprintf(text, sizeof text, "permessage-deflate; %s, permessage-deflate; server_max_window_bits=9", declined[i]);
        offer(text, "permessage-deflate; server_max_window_bits=9");
    }
    static const char *const malformed[] = {
        "", ",", "permessage-deflate;", "permessage-deflate; =", "permessage-deflate; a=", "permessage-deflate; a=\"",
        "permessage-deflate; a=\"\"", "permessage-deflate; a=\"b c\"", "permessage-deflate; a=\"b\\", "a b", "a; b c",
        "permessage-deflate; a=b c", "\"permessage-deflate\"", "a=b", ";", "permessage-deflate; a=b=c", "a; \x80",
    };
    for (unsigned i = 0; i < FC_ARRAY_LEN(malformed); i++)
        offer(malformed[i], NULL);
}

static void test_policy(void)
{
    policy = (fc_deflate_params){true, true, 12, 9};
    offer("permessage-deflate", "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                                "server_max_window_bits=12");
    offer("permessage-deflate; server_max_window_bits=10; client_max_window_bits",
          "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; "
          "client_max_window_bits=9");
    offer("permessage-deflate; server_max_window_bits=15; client_max_window_bits=8",
          "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; "
          "client_max_window_bits=8");
    policy = FC_DEFLATE_PARAMS;
    server.deflate = NULL;
    offer("permessage-deflate", "");
    server.deflate = &policy;
}

static bool agrees(fc_deflate_params offered, bool any_bits, const char *value)
{
    fc_ws_handshake_options client = {.deflate = &offered, .any_client_bits = any_bits, .accept = ACCEPT};
    fc_ws_handshake h;
    fc_ws_handshake_init(&h, &client);
    field(&h, "sec-websocket-extensions", value);
    return h.refusal == FC_WS_AGREED && h.has_deflate;
}

static void test_answers(void)
{
    fc_deflate_params plain = FC_DEFLATE_PARAMS, strict = {true, false, 12, 10};
    CHECK(agrees(plain, true, "permessage-deflate"));
    CHECK(agrees(plain, true, "permessage-deflate; client_max_window_bits=10; server_max_window_bits=9"));
    CHECK(agrees(plain, true, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"));
    CHECK(!agrees(plain, false, "permessage-deflate; client_max_window_bits=10"));
    CHECK(!agrees(plain, true, "permessage-deflate; client_max_window_bits"));
    CHECK(!agrees(plain, true, "permessage-deflate; server_max_window_bits"));
    CHECK(!agrees(plain, true, "permessage-deflate; server_max_window_bits=16"));
    CHECK(!agrees(plain, true, "permessage-deflate; unknown"));
    CHECK(!agrees(plain, true, "permessage-deflate, permessage-deflate"));
    CHECK(!agrees(plain, true, "permessage-deflate, foo"));
    CHECK(!agrees(plain, true, "permessage-bzip2"));
    CHECK(agrees(strict, true, NO_TAKEOVER "server_max_window_bits=12"));
    CHECK(agrees(strict, true, NO_TAKEOVER "server_max_window_bits=8; client_max_window_bits=9"));
    CHECK(!agrees(strict, true, "permessage-deflate; server_max_window_bits=12"));
    CHECK(!agrees(strict, true, "permessage-deflate; server_no_context_takeover"));
    CHECK(!agrees(strict, true, NO_TAKEOVER "server_max_window_bits=13"));
    CHECK(!agrees(strict, true, NO_TAKEOVER "server_max_window_bits=12; client_max_window_bits=11"));
}

typedef struct pair {
    const char *name, *value;
} pair;

static void add(fc_ws_handshake *h, pair f)
{
    if (f.name)
        fc_ws_handshake_field(h, f.name, strlen(f.name), f.value, strlen(f.value));
}

static const pair request[] = {
    {"Host", "x"}, {"UPGRADE", "WebSocket"}, {"connection", "keep-alive, Upgrade"},
    {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}, {"sec-websocket-version", "13"},
};

/* The request with field `without` left out (or replaced) and `more` added. */
static fc_ws_refusal verdict(int without, pair more, fc_ws_handshake *h)
{
    fc_ws_handshake_init(h, &server);
    for (int i = 0; i < (int)FC_ARRAY_LEN(request); i++)
        if (i != without)
            add(h, request[i]);
    add(h, more);
    return fc_ws_server_verdict(h, true, 1);
}

static void test_requests(void)
{
    fc_ws_handshake h;
    pair none = {0};
    CHECK(verdict(-1, none, &h) == FC_WS_AGREED && h.protocol.p == NULL && !h.has_deflate);
    CHECK(fc_ws_server_verdict(&h, false, 1) == FC_WS_NOT_GET);
    CHECK(fc_ws_server_verdict(&h, true, 0) == FC_WS_OLD_HTTP);
    CHECK(verdict(1, none, &h) == FC_WS_NO_UPGRADE);
    CHECK(verdict(2, none, &h) == FC_WS_NO_UPGRADE);
    CHECK(verdict(1, (pair){"Upgrade", "h2c"}, &h) == FC_WS_NO_UPGRADE);
    CHECK(verdict(3, none, &h) == FC_WS_BAD_KEY);
    CHECK(verdict(-1, (pair){"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}, &h) == FC_WS_BAD_KEY);
    CHECK(verdict(4, none, &h) == FC_WS_BAD_VERSION);
    CHECK(verdict(4, (pair){"Sec-WebSocket-Version", "8"}, &h) == FC_WS_BAD_VERSION);
    CHECK(verdict(4, (pair){"Sec-WebSocket-Version", "8, 13"}, &h) == FC_WS_BAD_VERSION);
    CHECK(verdict(-1, (pair){"Sec-WebSocket-Version", "13"}, &h) == FC_WS_BAD_VERSION);
    CHECK(verdict(-1, (pair){"Sec-WebSocket-Protocol", "mqtt, superchat ,chat"}, &h) == FC_WS_AGREED);
    CHECK(h.protocol.n == 9 && memcmp(h.protocol.p, "superchat", 9) == 0);
    CHECK(verdict(-1, (pair){"Sec-WebSocket-Protocol", "Chat"}, &h) == FC_WS_AGREED && h.protocol.p == NULL);
    CHECK(verdict(-1, (pair){"Sec-WebSocket-Protocol", "a b"}, &h) == FC_WS_BAD_PROTOCOLS);
    CHECK(verdict(-1, (pair){"Sec-WebSocket-Protocol", ""}, &h) == FC_WS_BAD_PROTOCOLS);
    CHECK(verdict(-1, (pair){"Sec-WebSocket-Extensions", ";"}, &h) == FC_WS_BAD_EXTENSIONS);
}

static void test_responses(void)
{
    static const pair response[] = {
        {"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Accept", ACCEPT},
    };
    fc_ws_handshake_options client = {.protocols = spoken, .protocols_len = 2, .accept = ACCEPT};
    static const struct {
        int without;
        pair more;
        fc_ws_refusal want;
    } cases[] = {
        {-1, {0}, FC_WS_AGREED},
        {0, {0}, FC_WS_NO_UPGRADE},
        {1, {0}, FC_WS_NO_UPGRADE},
        {2, {0}, FC_WS_BAD_ACCEPT},
        {2, {"Sec-WebSocket-Accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, FC_WS_BAD_ACCEPT},
        {2, {"Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo"}, FC_WS_BAD_ACCEPT},
        {-1, {"Sec-WebSocket-Accept", ACCEPT}, FC_WS_BAD_ACCEPT},
        {-1, {"Sec-WebSocket-Protocol", "chat"}, FC_WS_AGREED},
        {-1, {"Sec-WebSocket-Protocol", "chat, superchat"}, FC_WS_BAD_PROTOCOLS},
        {-1, {"Sec-WebSocket-Protocol", "mqtt"}, FC_WS_BAD_PROTOCOLS},
        {-1, {"Sec-WebSocket-Extensions", "permessage-deflate"}, FC_WS_BAD_EXTENSIONS},
    };
    for (unsigned c = 0; c < FC_ARRAY_LEN(cases); c++) {
        fc_ws_handshake h;
        fc_ws_handshake_init(&h, &client);
        for (int i = 0; i < 3; i++)
            if (i != cases[c].without)
                add(&h, response[i]);
        add(&h, cases[c].more);
        CHECK(fc_ws_client_verdict(&h, 101) == cases[c].want);
        CHECK(fc_ws_client_verdict(&h, 200) == FC_WS_BAD_STATUS);
    }
}

int main(void)
{
    test_accept();
    test_offers();
    test_policy();
    test_answers();
    test_requests();
    test_responses();
    for (int why = 0; why < FC_WS_REFUSAL_COUNT; why++)
        CHECK(strlen(fc_ws_refusal_name((fc_ws_refusal)why)) > 1 && fc_ws_refusal_status((fc_ws_refusal)why) > 100 &&
              strlen(fc_ws_refusal_text((fc_ws_refusal)why)) > 5);
    return check_done("test_ws_handshake");
}
