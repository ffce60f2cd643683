/* TLS under connections over loopback: both sides are ours here, on one loop; outsiders' clients are in the tests of the
 * gateway. What is looked at is what the owner of a connection sees. */
#include "fc/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "certificates.h"
#include "check.h"

#define BUDGET (10 * FC_NS_PER_MS)
#define PATIENCE 500 /* rounds of at most 20 ms */

static const unsigned char secret[FC_TLS_SECRET_BYTES] = "a ticket secret";
static identity authority, other_authority, server_id, wild_id, client_id, stranger_id, expired_id;

typedef struct end {
    fc_conn conn;
    uint64_t got, sum, to_send, sent;
    unsigned connects, closes, drains;
    int err;         /* of a failed fc_conn_recv, or broken */
    uint32_t chunk;  /* read so many bytes at once */
    bool eof, finish, held, opened;
    char trouble[128];
} end;

static end *of(fc_conn *c) { return FC_CONTAINER_OF(c, end, conn); }

static char byte_at(uint64_t i) { return (char)(i * 31 + (i >> 8)); }

static void keep_trouble(end *e)
{
    const char *text = fc_conn_trouble(&e->conn);
    snprintf(e->trouble, sizeof e->trouble, "%s", text ? text : "");
}

/* Send until all has gone or the socket takes no more; `drain` and `sent` go on. */
static void pump(end *e)
{
    char block[5000];
    int rc = 0;
    do {
        while (e->sent < e->to_send && !fc_conn_full(&e->conn)) {
            size_t n = e->to_send - e->sent < sizeof block ? (size_t)(e->to_send - e->sent) : sizeof block;
            for (size_t i = 0; i < n; i++)
                block[i] = byte_at(e->sent + i);
            if (fc_conn_write_copy(&e->conn, block, n) < 0)
                return;
            e->sent += n;
        }
        rc = fc_conn_flush(&e->conn);
    } while (rc == 0 && e->sent < e->to_send && !e->conn.out.len);
    if (rc < 0 && !e->err) {
        e->err = rc;
        keep_trouble(e);
    }
    if (e->finish && e->sent == e->to_send && !e->conn.out.len) {
        e->finish = false;
        fc_conn_shutdown_write(&e->conn);
    }
}

static void on_read(fc_conn *c)
{
    end *e = of(c);
    static char scrap[70000];
    if (e->held) {
        fc_conn_pause(c);
        return;
    }
    while (c->readable) {
        ssize_t n = fc_conn_recv(c, scrap, e->chunk ? e->chunk : sizeof scrap);
        for (ssize_t i = 0; i < n; i++)
            CHECK(scrap[i] == byte_at(e->got + (uint64_t)i));
        if (n > 0) {
            e->got += (uint64_t)n;
            continue;
        }
        e->eof |= n == 0;
        if (n < 0 && n != -EAGAIN && !e->err) {
            e->err = (int)n;
            keep_trouble(e);
        }
        break;
    }
    pump(e);
}
static void on_drain(fc_conn *c)
{
    of(c)->drains++;
    pump(of(c));
}
static void on_sent(fc_conn *c) { pump(of(c)); }
static void on_connected(fc_conn *c)
{
    of(c)->connects++;
    pump(of(c));
}
static void on_timeout(fc_conn *c) { (void)c; }
static void on_broken(fc_conn *c, int err)
{
    of(c)->err = err;
    keep_trouble(of(c));
    fc_conn_close(c);
}
static void on_closed(fc_conn *c) { of(c)->closes++; }

static const fc_conn_ops ops = {on_read, on_drain, on_sent, on_connected, on_timeout, on_broken, on_closed};

typedef struct pair {
    fc_loop *loop;
    fc_tls_slot client, server;
    int listener;
    struct sockaddr_in at;
    int buffer; /* of the sockets, bytes; 0: the system's */
    end a, b;   /* client, server */
} pair;

static fc_tls *make(const fc_tls_options *options, const identity *first, const identity *second)
{
    char why[FC_TLS_WHY_MAX];
    fc_tls *tls = fc_tls_new(options, why);
    CHECK(tls != NULL);
    if (first)
        CHECK(fc_tls_add_certificate(tls, first->cert_pem, strlen(first->cert_pem), first->key_pem, strlen(first->key_pem),
                                     why) == 0);
    if (second)
        CHECK(fc_tls_add_certificate(tls, second->cert_pem, strlen(second->cert_pem), second->key_pem,
                                     strlen(second->key_pem), why) == 0);
    return tls;
}

static fc_tls_options client_options(void)
{
    return (fc_tls_options){.verify = FC_TLS_VERIFY_REQUIRED, .authorities = authority.cert_pem,
                            .authorities_len = strlen(authority.cert_pem)};
}

static fc_tls_options server_options(void) { return (fc_tls_options){.server = true, .ticket_secret = secret}; }

static void begin(pair *p, fc_tls *client, fc_tls *server)
{
    memset(p, 0, sizeof *p);
    p->loop = fc_loop_new(64 << 20);
    fc_tls_slot_init(&p->client);
    fc_tls_slot_init(&p->server);
    fc_tls_slot_set(&p->client, client);
    fc_tls_slot_set(&p->server, server);
    socklen_t len = sizeof p->at;
    p->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(p->listener, (struct sockaddr *)&p->at, len) == 0 && listen(p->listener, 8) == 0 &&
          getsockname(p->listener, (struct sockaddr *)&p->at, &len) == 0);
}

/* Both ends of a new connection; what they send is set by the caller before or after. */
static void join(pair *p, const char *name, uint64_t from_client, uint64_t from_server)
{
    int size = p->buffer;
    memset(&p->a, 0, sizeof p->a);
    memset(&p->b, 0, sizeof p->b);
    p->a.to_send = from_client;
    p->b.to_send = from_server;
    if (size)
        setsockopt(p->listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    CHECK(fc_conn_connect(&p->a.conn, p->loop, (struct sockaddr *)&p->at, sizeof p->at, &ops) == 0);
    CHECK(p->client.securer.secure(&p->client.securer, &p->a.conn, name, 7) == 0);
    int fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK);
    CHECK(fd >= 0 && fc_conn_open(&p->b.conn, p->loop, fd, &ops) == 0);
    CHECK(p->server.securer.secure(&p->server.securer, &p->b.conn, NULL, 0) == 0);
    p->a.opened = p->b.opened = true;
    if (size) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(p->a.conn.io.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    p->a.conn.out_high = p->b.conn.out_high = 40000;
    p->a.conn.out_low = p->b.conn.out_low = 10000;
    fc_loop_touch(p->loop);
    pump(&p->b); /* before the handshake: it waits for that */
}

#define UNTIL(p, what)                                        \
    do {                                                      \
        for (int round_ = 0; round_ < PATIENCE && !(what); round_++) \
            fc_loop_run((p)->loop, 20, BUDGET);               \
        CHECK(what);                                          \
    } while (0)

static void part(pair *p)
{
    if (p->a.opened)
        fc_conn_close(&p->a.conn);
    if (p->b.opened)
        fc_conn_close(&p->b.conn);
    UNTIL(p, p->a.closes == p->a.opened && p->b.closes == p->b.opened);
}

static void finish(pair *p)
{
    fc_tls_slot_set(&p->client, NULL);
    fc_tls_slot_set(&p->server, NULL);
    close(p->listener);
    fc_loop_free(p->loop);
}

/* --- bytes ------------------------------------------------------------------------------------------------------- */

/* Many sizes both ways at once, through large and small socket buffers, read in large and small pieces. */
static void test_bytes(void)
{
    static const uint64_t sizes[] = {0, 1, 16383, 16384, 16385, 300000};
    fc_tls_options c = client_options(), s = server_options();
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    for (int buffer = 0; buffer <= 4096; buffer += 4096)
        for (size_t i = 0; i < FC_ARRAY_LEN(sizes); i++)
            for (uint32_t chunk = 0; chunk < 2; chunk++) {
                p.buffer = buffer;
                join(&p, "server.test", sizes[i], 300000 - sizes[i]);
                p.a.chunk = p.b.chunk = chunk * 777;
                p.a.finish = p.b.finish = true;
                UNTIL(&p, p.a.connects == 1 && p.b.got == sizes[i] && p.a.got == 300000 - sizes[i]);
                pump(&p.a);
                pump(&p.b);
                UNTIL(&p, p.a.eof && p.b.eof);
                CHECK(p.a.err == 0 && p.b.err == 0);
                part(&p);
            }
    CHECK(fc_tls_slot_stats(&p.server).handshakes == 24 && fc_tls_slot_stats(&p.server).failed == 0);
    finish(&p);
}

/* A paused reader: what waits in the kernel and in one record is all that is taken; then everything arrives. */
static void test_pause(void)
{
    fc_tls_options c = client_options(), s = server_options();
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    p.buffer = 4096;
    join(&p, "server.test", 0, 1000000);
    p.a.held = true;
    UNTIL(&p, p.a.connects == 1);
    for (int i = 0; i < 10; i++)
        fc_loop_run(p.loop, 10, BUDGET);
    CHECK(p.a.got == 0 && p.b.sent < 400000);
    p.a.held = false;
    fc_conn_resume(&p.a.conn);
    UNTIL(&p, p.a.got == 1000000);
    part(&p);
    finish(&p);
}

static void test_files(void)
{
    fc_tls_options c = client_options(), s = server_options();
    char path[] = "/tmp/fastcore-test-XXXXXX", block[4096];
    int fd = mkstemp(path);
    for (uint64_t at = 0; at < 50; at++) {
        for (uint64_t i = 0; i < sizeof block; i++)
            block[i] = byte_at(at * sizeof block + i);
        CHECK(write(fd, block, sizeof block) == (ssize_t)sizeof block);
    }
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    join(&p, "server.test", 0, 100);
    UNTIL(&p, p.a.got == 100);
    CHECK(fc_outq_push_file(&p.b.conn.out, dup(fd), 100, 50 * sizeof block - 100) == 0);
    CHECK(fc_conn_flush(&p.b.conn) == 0);
    UNTIL(&p, p.a.got == 50 * sizeof block);
    CHECK(fc_outq_push_file(&p.b.conn.out, dup(fd), 0, 100 * sizeof block) == 0); /* more than it has */
    int rc = fc_conn_flush(&p.b.conn);
    for (int i = 0; i < PATIENCE && rc == 0 && p.b.err == 0 && p.b.closes == 0; i++)
        fc_loop_run(p.loop, 20, BUDGET);
    CHECK(rc == -EIO || p.b.err == -EIO);
    p.b.opened = !p.b.closes;
    unlink(path);
    close(fd);
    fc_conn_close(&p.a.conn);
    if (p.b.opened)
        fc_conn_close(&p.b.conn);
    UNTIL(&p, p.a.closes && p.b.closes);
    finish(&p);
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

static void test_ends(void)
{
    fc_tls_options c = client_options(), s = server_options();
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    join(&p, "server.test", 10, 1000);
    UNTIL(&p, p.a.got == 1000 && p.b.got == 10);
    shutdown(p.b.conn.io.fd, SHUT_WR); /* FIN without close_notify: cut, whoever did it */
    UNTIL(&p, p.a.err != 0);
    CHECK(p.a.err == -ECONNRESET && !p.a.eof);
    part(&p);

    join(&p, "server.test", 10, 1000);
    UNTIL(&p, p.a.got == 1000 && p.b.got == 10);
    fc_conn_close(&p.b.conn); /* all was sent: vouched for */
    UNTIL(&p, p.a.eof && p.b.closes);
    CHECK(p.a.err == 0);
    p.b.opened = false;
    p.b.closes = 0;
    part(&p);

    join(&p, "server.test", 10, 1000);
    UNTIL(&p, p.a.got == 1000 && p.b.got == 10);
    fc_conn_abort(&p.b.conn);
    UNTIL(&p, p.a.err != 0 && p.b.closes);
    CHECK(!p.a.eof);
    p.b.opened = false;
    p.b.closes = 0;
    p.a.opened = !p.a.closes;
    p.a.closes = 0;
    part(&p);
    finish(&p);
}

/* An idle connection is not readable because of tickets or anything else that is TLS's own. */
static void test_quiet(void)
{
    fc_tls_options c = client_options(), s = server_options();
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    join(&p, "server.test", 5, 0);
    UNTIL(&p, p.b.got == 5);
    for (int i = 0; i < 10; i++)
        fc_loop_run(p.loop, 5, BUDGET);
    CHECK(!p.a.conn.readable && !p.b.conn.readable);
    part(&p);
    finish(&p);
}

/* --- who is who -------------------------------------------------------------------------------------------------- */

static void expect_refused(pair *p, const char *name, const char *trouble)
{
    join(p, name, 10, 0);
    UNTIL(p, p->a.closes == 1);
    CHECK(p->a.connects == 0 && strstr(p->a.trouble, trouble) != NULL);
    if (!strstr(p->a.trouble, trouble))
        fprintf(stderr, "trouble: %s\n", p->a.trouble);
    p->a.opened = false;
    p->a.closes = 0;
    UNTIL(p, p->b.err || p->b.eof);
    CHECK(p->b.got == 0); /* invariant 3 */
    part(p);
}

static void test_verification(void)
{
    fc_tls_options c = client_options(), s = server_options(), none = {0};
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    expect_refused(&p, "other.test", "mismatch");
    join(&p, "127.0.0.1", 10, 10); /* an address, which its certificate has */
    UNTIL(&p, p.a.got == 10 && p.b.got == 10);
    part(&p);
    expect_refused(&p, "127.0.0.2", "mismatch");
    fc_tls_slot_set(&p.server, make(&s, &expired_id, NULL));
    expect_refused(&p, "server.test", "expired");
    fc_tls_slot_set(&p.server, make(&s, &stranger_id, NULL));
    expect_refused(&p, "server.test", "issuer");
    fc_tls_slot_set(&p.client, make(&none, NULL, NULL)); /* verification off, which must be said */
    join(&p, "server.test", 10, 10);
    UNTIL(&p, p.a.got == 10 && p.b.got == 10);
    part(&p);
    p.client.name = "server.test"; /* the slot's name stands for each */
    fc_tls_slot_set(&p.client, make(&c, NULL, NULL));
    fc_tls_slot_set(&p.server, make(&s, &server_id, NULL));
    join(&p, "10.1.2.3", 10, 10);
    UNTIL(&p, p.a.got == 10 && p.b.got == 10);
    part(&p);
    finish(&p);
}

static void test_names(void)
{
    fc_tls_options c = client_options(), s = server_options();
    static const struct {
        const char *name;
        bool accepted;
    } cases[] = {{"server.test", true}, {"SERVER.test", true}, {"a.wild.test", true}, {"wild.test", false},
                 {"a.b.wild.test", false}};
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, &wild_id));
    for (size_t i = 0; i < FC_ARRAY_LEN(cases); i++) {
        if (!cases[i].accepted) {
            expect_refused(&p, cases[i].name, "mismatch");
            continue;
        }
        join(&p, cases[i].name, 10, 10);
        UNTIL(&p, p.a.got == 10 && p.b.got == 10);
        part(&p);
    }
    finish(&p);
}

static void test_clients(void)
{
    fc_tls_options c = client_options(), s = server_options();
    s.verify = FC_TLS_VERIFY_REQUIRED;
    s.authorities = authority.cert_pem;
    s.authorities_len = strlen(authority.cert_pem);
    pair p;
    begin(&p, make(&c, &client_id, NULL), make(&s, &server_id, NULL));
    join(&p, "server.test", 10, 10);
    UNTIL(&p, p.a.got == 10 && p.b.got == 10);
    unsigned char *der = NULL;
    int n = i2d_X509(client_id.cert, &der);
    fc_slice seen = p.b.conn.transport->ops->certificate(&p.b.conn);
    CHECK(seen.n == (size_t)n && memcmp(seen.p, der, seen.n) == 0);
    part(&p);
    join(&p, "server.test", 10, 10); /* resumed: the identity comes with the session */
    UNTIL(&p, p.a.got == 10 && p.b.got == 10);
    CHECK(fc_tls_slot_stats(&p.server).resumed == 1);
    seen = p.b.conn.transport->ops->certificate(&p.b.conn);
    CHECK(seen.n == (size_t)n && memcmp(seen.p, der, seen.n) == 0);
    part(&p);
    s.authorities = other_authority.cert_pem; /* who is trusted has changed: no old session gets in */
    s.authorities_len = strlen(other_authority.cert_pem);
    fc_tls_slot_set(&p.server, make(&s, &server_id, NULL));
    join(&p, "server.test", 10, 10);
    UNTIL(&p, p.b.err != 0);
    CHECK(p.b.got == 0);
    part(&p);
    s.authorities = authority.cert_pem;
    s.authorities_len = strlen(authority.cert_pem);
    fc_tls_slot_set(&p.server, make(&s, &server_id, NULL));
    fc_tls_slot_set(&p.client, make(&c, NULL, NULL)); /* nothing to show */
    join(&p, "server.test", 10, 10);
    UNTIL(&p, p.b.err != 0);
    CHECK(p.b.got == 0);
    part(&p);
    s.verify = FC_TLS_VERIFY_OPTIONAL;
    fc_tls_slot_set(&p.server, make(&s, &server_id, NULL));
    join(&p, "server.test", 10, 10);
    UNTIL(&p, p.a.got == 10 && p.b.got == 10);
    CHECK(p.b.conn.transport->ops->certificate(&p.b.conn).n == 0);
    part(&p);
    finish(&p);
    OPENSSL_free(der);
}

/* --- sessions and versions --------------------------------------------------------------------------------------- */

static void test_resumption(void)
{
    fc_tls_options c = client_options(), s = server_options();
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    for (int i = 0; i < 4; i++) {
        if (i == 2) /* another worker, as it were: the same secret */
            fc_tls_slot_set(&p.server, make(&s, &server_id, NULL));
        join(&p, "server.test", 10, 10);
        UNTIL(&p, p.a.got == 10 && p.b.got == 10);
        part(&p);
    }
    CHECK(fc_tls_slot_stats(&p.server).handshakes == 4 && fc_tls_slot_stats(&p.server).resumed == 3);
    static const unsigned char another[FC_TLS_SECRET_BYTES] = "not that one";
    s.ticket_secret = another;
    fc_tls_slot_set(&p.server, make(&s, &server_id, NULL));
    join(&p, "server.test", 10, 10);
    UNTIL(&p, p.a.got == 10 && p.b.got == 10);
    CHECK(fc_tls_slot_stats(&p.server).resumed == 3);
    part(&p);
    s.ticket_secret = NULL;
    fc_tls_slot_set(&p.server, make(&s, &server_id, NULL));
    for (int i = 0; i < 2; i++) {
        join(&p, "server.test", 10, 10);
        UNTIL(&p, p.a.got == 10 && p.b.got == 10);
        part(&p);
    }
    CHECK(fc_tls_slot_stats(&p.server).resumed == 3);
    finish(&p);
}

static void test_protocols(void)
{
    fc_tls_options c = client_options(), s = server_options();
    pair p;
    c.alpn = "\x02h2\x08http/1.1";
    c.alpn_len = 12;
    s.alpn = "\x08http/1.1";
    s.alpn_len = 9;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    join(&p, "server.test", 10, 10);
    UNTIL(&p, p.a.got == 10 && p.b.got == 10);
    part(&p);
    c.alpn = "\x02h2";
    c.alpn_len = 3;
    fc_tls_slot_set(&p.client, make(&c, NULL, NULL));
    expect_refused(&p, "server.test", "no application protocol");
    finish(&p);
}

/* What does not speak TLS at all. */
static void test_strangers(void)
{
    static const struct {
        const char *says, *hears;
    } cases[] = {{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400"}, {"\x16\x03\x01\xff\xff\xff\xff\xff", ""}, {"\0", ""}};
    fc_tls_options c = client_options(), s = server_options();
    pair p;
    begin(&p, make(&c, NULL, NULL), make(&s, &server_id, NULL));
    for (size_t i = 0; i < FC_ARRAY_LEN(cases); i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(connect(fd, (struct sockaddr *)&p.at, sizeof p.at) == 0);
        memset(&p.a, 0, sizeof p.a);
        memset(&p.b, 0, sizeof p.b);
        CHECK(fc_conn_open(&p.b.conn, p.loop, accept4(p.listener, NULL, NULL, SOCK_NONBLOCK), &ops) == 0);
        CHECK(p.server.securer.secure(&p.server.securer, &p.b.conn, NULL, 0) == 0);
        p.b.opened = true;
        size_t n = cases[i].says[0] ? strlen(cases[i].says) : 1;
        CHECK(send(fd, cases[i].says, n, MSG_NOSIGNAL) == (ssize_t)n);
        shutdown(fd, SHUT_WR);
        UNTIL(&p, p.b.err != 0);
        part(&p);
        char answer[200] = "";
        ssize_t got = recv(fd, answer, sizeof answer - 1, 0);
        CHECK(strncmp(got > 0 ? answer : "", cases[i].hears, strlen(cases[i].hears)) == 0);
        close(fd);
    }
    CHECK(fc_tls_slot_stats(&p.server).failed == 3);
    finish(&p);
}

static void test_bad_settings(void)
{
    char why[FC_TLS_WHY_MAX];
    fc_tls_options s = server_options(), c = client_options();
    fc_tls *tls = fc_tls_new(&s, why);
    CHECK(fc_tls_add_certificate(tls, "no", 2, "no", 2, why) == -EINVAL && strstr(why, "certificate cannot be read"));
    CHECK(fc_tls_add_certificate(tls, server_id.cert_pem, strlen(server_id.cert_pem), client_id.key_pem,
                                 strlen(client_id.key_pem), why) == -EINVAL &&
          strstr(why, "not the certificate's"));
    fc_tls_unref(tls);
    s.ciphers = "NONSENSE";
    CHECK(fc_tls_new(&s, why) == NULL && strstr(why, "ciphers"));
    c.authorities = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    c.authorities_len = strlen(c.authorities);
    CHECK(fc_tls_new(&c, why) == NULL && strstr(why, "trusted"));
    c.authorities_len = 0;
    CHECK(fc_tls_new(&c, why) == NULL && strstr(why, "no certificate to trust"));
}

int main(void)
{
    make_identity(&authority, "test authority", NULL, NULL, 36000);
    make_identity(&other_authority, "other authority", NULL, NULL, 36000);
    make_identity(&server_id, "server", "DNS:server.test,IP:127.0.0.1", &authority, 36000);
    make_identity(&wild_id, "wild", "DNS:*.wild.test", &authority, 36000);
    make_identity(&client_id, "client", "DNS:client.test", &authority, 36000);
    make_identity(&stranger_id, "stranger", "DNS:server.test", &other_authority, 36000);
    make_identity(&expired_id, "expired", "DNS:server.test", &authority, -60);
    test_bytes();
    test_pause();
    test_files();
    test_ends();
    test_quiet();
    test_verification();
    test_names();
    test_clients();
    test_resumption();
    test_protocols();
    test_strangers();
    test_bad_settings();
    identity *all[] = {&authority, &other_authority, &server_id, &wild_id, &client_id, &stranger_id, &expired_id};
    for (size_t i = 0; i < FC_ARRAY_LEN(all); i++)
        free_identity(all[i]);
    return check_done("tls");
}
