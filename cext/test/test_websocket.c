#include "fc/websocket.h"

#include "check.h"
#include "guard.h"
#include "ws_log.h"

#define BYTES(literal) literal, sizeof(literal) - 1

static fc_ws_options options = {.masking = FC_WS_MASK_EITHER, .frame_max = 70000, .message_max = 70000};
static const fc_deflate_params *deflate;

/* Reading the stream in every kind of pieces gives `text` (see ws_log.h), then the error at its place. */
static void expect(const char *p, size_t n, const char *text, fc_ws_error error, uint64_t at)
{
    for (size_t step = 1; step <= n; step += step < 20 ? 1 : n / 3)
        for (int stream = 0; stream < 2; stream++) {
            ws_log log;
            ws_log_read(&log, &options, deflate, p, n, step, stream);
            CHECK((log.answer == FC_WS_ERROR) == (error != FC_WS_OK));
            CHECK(log.error == error && log.error_at == at);
            bool same = log.text.len == strlen(text) && memcmp(log.text.p ? log.text.p : "", text, log.text.len) == 0;
            CHECK(same);
            if (!same)
                fprintf(stderr, "step %zu: got \"%.*s\", not \"%s\"\n", step, (int)log.text.len, log.text.p, text);
            fc_grow_reset(&log.text, 0);
        }
}

static void good(const char *p, size_t n, const char *text)
{
    expect(p, n, text, FC_WS_OK, 0);
}

/* RFC 6455 5.7. */
static void test_examples(void)
{
    good(BYTES("\x81\x05Hello"), "\n1:Hello|");
    good(BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "\n1:Hello|");
    good(BYTES("\x01\x03Hel\x80\x02lo"), "\n1:Hello|");
    good(BYTES("\x89\x05Hello"), "\n9 0 5:Hello");
    good(BYTES("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "\na 0 5:Hello");
    good(BYTES("\x82\x00\x81\x00\x89\x00"), "\n2:|\n1:|\n9 0 0:");
    good(BYTES("\x01\x00\x00\x00\x00\x01x\x80\x00"), "\n1:x|");
    good(BYTES("\x01\x01" "a\x89\x01p\x80\x01z"), "\n9 0 1:p\n1:az|");
    good(BYTES("\x88\x00"), "\n8 1005 0:");
    good(BYTES("\x88\x02\x03\xe8"), "\n8 1000 0:");
    good(BYTES("\x88\x05\x0f\xa0" "bye\x81\x01xgarbage"), "\n8 4000 3:bye"); /* what follows is dropped */
}

static void test_errors(void)
{
    expect(BYTES("\x81\x01x\xc1"), "\n1:x|", FC_WS_BAD_RSV, 3);
    expect(BYTES("\xa1"), "", FC_WS_BAD_RSV, 0);
    expect(BYTES("\x91"), "", FC_WS_BAD_RSV, 0);
    expect(BYTES("\x83"), "", FC_WS_BAD_OPCODE, 0);
    expect(BYTES("\x87\x00"), "", FC_WS_BAD_OPCODE, 0);
    expect(BYTES("\x8b\x00"), "", FC_WS_BAD_OPCODE, 0);
    expect(BYTES("\x8f\x00"), "", FC_WS_BAD_OPCODE, 0);
    expect(BYTES("\x09\x00"), "", FC_WS_CONTROL_FRAGMENTED, 0);
    expect(BYTES("\x89\x7e\x00\x7e"), "", FC_WS_CONTROL_TOO_LONG, 1);
    expect(BYTES("\x80\x00"), "", FC_WS_NO_START, 0);
    expect(BYTES("\x01\x01x\x81\x00"), "", FC_WS_NO_END, 3);
    expect(BYTES("\x81\x01x\x80\x00"), "\n1:x|", FC_WS_NO_START, 3);
    expect(BYTES("\x82\x7e\x00\x7d"), "", FC_WS_BAD_LENGTH, 2);
    expect(BYTES("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), "", FC_WS_BAD_LENGTH, 2);
    expect(BYTES("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x01"), "", FC_WS_BAD_LENGTH, 2);
    expect(BYTES("\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x71"), "", FC_WS_FRAME_TOO_BIG, 1); /* 70,001 */
    expect(BYTES("\x02\x01x\x80\x7f\x00\x00\x00\x00\x00\x01\x11\x70"), "", FC_WS_MESSAGE_TOO_BIG, 4);
    expect(BYTES("\x88\x01"), "", FC_WS_BAD_CLOSE_LENGTH, 1);
    expect(BYTES("\x88\x02\x03\xed"), "", FC_WS_BAD_CLOSE_CODE, 2); /* 1005 */
    expect(BYTES("\x88\x04\x03\xe8\xc3\x28"), "", FC_WS_BAD_REASON, 5);
    expect(BYTES("\x88\x03\x03\xe8\xc3"), "", FC_WS_BAD_REASON, 5);
    expect(BYTES("\x81\x04" "a\xed\xa0\x80"), "", FC_WS_BAD_TEXT, 4);
    expect(BYTES("\x01\x02" "a\xc3\x80\x00"), "", FC_WS_BAD_TEXT, 6); /* ends inside a character */
    expect(BYTES("\x01\x02" "a\xf4\x80\x01\x90"), "", FC_WS_BAD_TEXT, 6);
}

/* Text is refused while its frame is still arriving (RFC 6455 8.1; Autobahn 6.4). */
static void test_fail_fast(void)
{
    fc_ws_parser w;
    fc_ws_event ev;
    size_t used;
    char byte;
    fc_ws_parser_init(&w, &options);
    CHECK(fc_ws_next(&w, BYTES("\x81\x7d" "abc\xf0"), &used, &ev) == FC_WS_DATA && fc_ws_take(&w, &ev, (char[8]){0}));
    CHECK(fc_ws_next(&w, "\x80", 1, &used, &ev) == FC_WS_DATA && !fc_ws_take(&w, &ev, &byte));
    CHECK(w.error == FC_WS_BAD_TEXT && w.error_at == 6);
}

static void test_masking(void)
{
    options.masking = FC_WS_MASK_REQUIRED;
    expect(BYTES("\x81\x05Hello"), "", FC_WS_NOT_MASKED, 1);
    good(BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "\n1:Hello|");
    options.masking = FC_WS_MASK_FORBIDDEN;
    good(BYTES("\x81\x05Hello"), "\n1:Hello|");
    expect(BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "", FC_WS_MASKED, 1);
    options.masking = FC_WS_MASK_EITHER;
}

/* Messages of the sizes where lengths change form, built and read back. */
static void test_sizes(void)
{
    static const size_t sizes[] = {0, 1, 124, 125, 126, 127, 128, 4096, 65535, 65536, 70000};
    static char payload[70000], frame[70014];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (char)('a' + i % 23);
    for (unsigned i = 0; i < FC_ARRAY_LEN(sizes); i++)
        for (int masked = 0; masked < 2; masked++) {
            size_t n = sizes[i];
            uint32_t key = 0x80ff1234u;
            size_t size = fc_ws_frame_write(frame, FC_WS_FIN | FC_WS_TEXT, payload, n, masked ? &key : NULL,
                                            fc_mask_best());
            CHECK(size == n + fc_ws_head_size(n, masked));
            CHECK(!masked || n < 4 || memcmp(frame + size - n, payload, n) != 0);
            for (size_t step = n / 3 + 1; step <= size; step += size / 2) {
                ws_log log;
                ws_log_read(&log, &options, NULL, frame, size, step, step % 2);
                CHECK(log.error == FC_WS_OK && log.used == size && log.text.len == n + 4);
                CHECK(memcmp(log.text.p + 3, payload, n) == 0);
                fc_grow_reset(&log.text, 0);
            }
        }
}

static void test_deflate(void)
{
    fc_deflate_params params = FC_DEFLATE_PARAMS;
    deflate = &params;
    good(BYTES("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"), "\n1z:Hello|");
    good(BYTES("\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00"), "\n1z:Hello|");
    good(BYTES("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00"), "\n1z:Hello|\n1z:Hello|");
    good(BYTES("\x41\x03\xf2\x48\xcd\x89\x02hi\x80\x04\xc9\xc9\x07\x00"), "\n9 0 2:hi\n1z:Hello|");
    good(BYTES("\xc2\x01\x00\x81\x02hi\xc2\x00"), "\n2z:|\n1:hi|\n2z:|");
    expect(BYTES("\x41\x03\xf2\x48\xcd\xc0\x04"), "", FC_WS_BAD_RSV, 5);
    expect(BYTES("\xc9\x00"), "", FC_WS_BAD_RSV, 0);
    expect(BYTES("\xa1\x00"), "", FC_WS_BAD_RSV, 0);
    expect(BYTES("\x81\x01x\xc2\x02\x06\x00"), "\n1:x|", FC_WS_BAD_DEFLATE, 3);
    expect(BYTES("\xc2\x05\xf2\x48\xcd\xc9\xc9"), "", FC_WS_BAD_DEFLATE, 0);
    expect(BYTES("\xc1\x07\x00\x01\x00\xfe\xff\xff\x00"), "", FC_WS_BAD_TEXT, 0); /* the one byte FF */
    good(BYTES("\xc2\x07\x00\x01\x00\xfe\xff\xff\x00"), "\n2z:\xff|");
    expect(BYTES("\xc1\x07\x00\x01\x00\xfe\xff\xc3\x00"), "", FC_WS_BAD_TEXT, 0); /* an unfinished character */
    params.client_no_context_takeover = true;
    expect(BYTES("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00"), "\n1z:Hello|",
           FC_WS_BAD_DEFLATE, 9);
    options.message_max = 5;
    good(BYTES("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"), "\n1z:Hello|");
    good(BYTES("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc2\x07\xf2\x48\xcd\xc9\xc9\x07\x00"), "\n1z:Hello|\n2z:Hello|");
    options.message_max = 4;
    expect(BYTES("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"), "", FC_WS_MESSAGE_TOO_BIG, 0);
    options.message_max = 70000;
    deflate = NULL;
}

/* A frame that is expanded in several steps, masked: incompressible bytes, more than fit one. */
static void test_large_compressed(void)
{
    static char payload[10000], frame[12000];
    fc_deflate_params params = FC_DEFLATE_PARAMS;
    fc_deflate_options settings = FC_DEFLATE_OPTIONS;
    fc_deflater *d = fc_deflater_new(&settings);
    fc_grow made;
    uint32_t noise = 1, key = 0x80ff1234u;
    for (size_t i = 0; i < sizeof payload; i++) {
        noise = noise * 1103515245u + 12345u;
        payload[i] = (char)(noise >> 16);
    }
    fc_grow_init(&made, 1 << 20);
    CHECK(fc_deflater_run(d, payload, sizeof payload, true, &made) == FC_DEFLATE_OK && made.len > 9000);
    size_t size = fc_ws_frame_write(frame, FC_WS_FIN | FC_WS_RSV1 | FC_WS_BINARY, made.p, made.len, &key, fc_mask_best());
    for (size_t step = 4000; step < 13000; step += 4001)
        for (int stream = 0; stream < 2; stream++) {
            ws_log log;
            ws_log_read(&log, &options, &params, frame, size, step, stream);
            CHECK(log.error == FC_WS_OK && log.text.len == sizeof payload + 5);
            CHECK(log.text.len > 4 && memcmp(log.text.p + 4, payload, sizeof payload) == 0);
            fc_grow_reset(&log.text, 0);
        }
    fc_grow_reset(&made, 0);
    fc_deflater_free(d);
}

/* Whole frames end where memory does, and are pointed at where they lie. */
static void test_in_place(void)
{
    guard g = guard_make(64);
    fc_ws_reader r;
    fc_ws_event ev;
    size_t used;
    char *p = guard_put(&g, BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"));
    fc_ws_reader_init(&r, &options, NULL, 0);
    CHECK(fc_ws_read(&r, p, 11, &used, &ev) == FC_WS_DATA && used == 11);
    CHECK(ev.p == p + 6 && ev.n == 5 && memcmp(p + 6, "Hello", 5) == 0);
    CHECK(r.text.p == NULL && fc_ws_between(&r.parser));
    CHECK(fc_ws_read(&r, p, 1, &used, &ev) == FC_WS_MORE && used == 1 && !fc_ws_between(&r.parser));
    fc_ws_reader_free(&r);
    for (size_t n = 0; n < 14; n++) { /* a head that stops at the end of memory */
        static const char head[] = "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00" "abcd";
        fc_ws_reader_init(&r, &options, NULL, 0);
        CHECK(fc_ws_read(&r, guard_put(&g, head, n), n, &used, &ev) == FC_WS_MORE && used == n);
        CHECK(fc_ws_read(&r, guard_put(&g, head + n, 14 - n), 14 - n, &used, &ev) == FC_WS_MORE);
        CHECK(r.parser.left == 65536 && memcmp(&r.parser.key, "abcd", 4) == 0);
    }
    guard_free(&g);
}

/* A message that was announced and does not come costs nothing; one that has been given costs nothing afterwards. */
static void test_memory(void)
{
    fc_ws_reader r;
    fc_ws_event ev;
    size_t used;
    char bytes[] = "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" "some";
    fc_ws_reader_init(&r, &options, NULL, 100);
    CHECK(fc_ws_read(&r, bytes, sizeof bytes - 1, &used, &ev) == FC_WS_MORE);
    CHECK(r.text.len == 4 && r.text.cap <= 256);
    static char rest[65532];
    CHECK(fc_ws_read(&r, rest, sizeof rest, &used, &ev) == FC_WS_DATA && ev.n == 65536);
    CHECK(fc_ws_read(&r, rest, 0, &used, &ev) == FC_WS_MORE && r.text.cap == 0);
    fc_ws_reader_free(&r);
}

static void test_close_codes(void)
{
    for (unsigned code = 0; code <= 66000; code++) {
        bool valid = (code >= 3000 && code < 5000) || (code >= 1000 && code <= 1014 && !(code >= 1004 && code <= 1006));
        CHECK(fc_ws_code_valid(code) == valid);
    }
}

static void test_keys(void)
{
    static fc_ws_keys keys;
    uint32_t key, seen[1000];
    for (unsigned i = 0; i < FC_ARRAY_LEN(seen); i++) {
        CHECK(fc_ws_key_next(&keys, &key) == 0);
        CHECK(keys.keys[keys.left] == 0);
        seen[i] = key;
    }
    unsigned equal = 0; /* 1,000 random words: a pair has a chance of 1 in 8,600 */
    for (unsigned i = 0; i < FC_ARRAY_LEN(seen); i++)
        for (unsigned j = 0; j < i; j++)
            equal += seen[i] == seen[j];
    CHECK(equal < 3);
}

static void test_error_rows(void)
{
    for (int e = 0; e < FC_WS_ERROR_COUNT; e++) {
        CHECK(strlen(fc_ws_error_name((fc_ws_error)e)) > 1 && strlen(fc_ws_error_text((fc_ws_error)e)) > 5);
        CHECK(fc_ws_code_valid(fc_ws_error_code((fc_ws_error)e)));
    }
}

int main(void)
{
    test_examples();
    test_errors();
    test_fail_fast();
    test_masking();
    test_sizes();
    test_deflate();
    test_large_compressed();
    test_in_place();
    test_memory();
    test_close_codes();
    test_keys();
    test_error_rows();
    return check_done("test_websocket");
}
