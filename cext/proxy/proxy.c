/* The proxy as a whole: settings, the current route table, start and end. */
#include <errno.h>
#include <stdlib.h>

#include "exchange.h"

static char *copy_text(const char *text) { return strdup(text ? text : ""); }

int fc_proxy_init(fc_proxy *proxy, fc_loop *loop, const fc_proxy_settings *settings, uint64_t seed)
{
    memset(proxy, 0, sizeof *proxy);
    proxy->settings = *settings;
    proxy->settings.http.app_bytes = sizeof(fc_exchange);
    /* A head stands in one block, with room for what we add to it; a longer one is refused as too large (431). */
    if (proxy->settings.http.parse.head_bytes_max > FC_PROXY_HEAD_BYTES_MAX)
        proxy->settings.http.parse.head_bytes_max = FC_PROXY_HEAD_BYTES_MAX;
    proxy->settings.name = copy_text(settings->name);
    proxy->settings.trusted = malloc((settings->trusted_len + 1) * sizeof(fc_net));
    proxy->scratch = fc_router_scratch_new();
    proxy->random = seed;
    if (!proxy->settings.name || !proxy->settings.trusted || !proxy->scratch) {
        fc_proxy_close(proxy);
        return -ENOMEM;
    }
    memcpy((void *)(uintptr_t)proxy->settings.trusted, settings->trusted, settings->trusted_len * sizeof(fc_net));
    proxy->name_len = strlen(proxy->settings.name);
    fc_http_server_init(&proxy->server, loop, &exchange_http_ops, proxy, &proxy->settings.http);
    return 0;
}

void fc_proxy_stop(fc_proxy *proxy)
{
    exchange_mirrors_end(proxy);
    fc_http_server_stop(&proxy->server);
    exchange_mirrors_end(proxy);
}

void fc_proxy_close(fc_proxy *proxy)
{
    if (proxy->table)
        fc_route_table_unref(proxy->table);
    fc_router_scratch_free(proxy->scratch);
    free((void *)(uintptr_t)proxy->settings.name);
    free((void *)(uintptr_t)proxy->settings.trusted);
    memset(proxy, 0, sizeof *proxy);
}

int fc_proxy_set_table(fc_proxy *proxy, fc_route_table *table)
{
    if (fc_router_scratch_fit(proxy->scratch, table->router) < 0)
        return -ENOMEM;
    if (proxy->table)
        fc_route_table_unref(proxy->table);
    proxy->table = table;
    return 0;
}

void fc_route_table_unref(fc_route_table *table)
{
    if (--table->refs == 0)
        table->release(table);
}
