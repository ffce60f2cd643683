#include "fc/date.h"

#include <string.h>
#include <time.h>

#include "fc/clock.h"

static void two(char *at, int v)
{
    at[0] = (char)('0' + v / 10);
    at[1] = (char)('0' + v % 10);
}

const char *fc_date_now(fc_date *cache)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t now = fc_wall_ns() / FC_NS_PER_S;
    if (now == cache->second)
        return cache->text;
    cache->second = now;
    time_t t = (time_t)now;
    struct tm tm;
    gmtime_r(&t, &tm);
    /* By hand: strftime follows the locale. */
    memcpy(cache->text, "Sun, 00 Jan 0000 00:00:00 GMT", FC_DATE_LEN);
    memcpy(cache->text, days + 3 * tm.tm_wday, 3);
    two(cache->text + 5, tm.tm_mday);
    memcpy(cache->text + 8, months + 3 * tm.tm_mon, 3);
    two(cache->text + 12, (tm.tm_year + 1900) / 100);
    two(cache->text + 14, tm.tm_year % 100);
    two(cache->text + 17, tm.tm_hour);
    two(cache->text + 20, tm.tm_min);
    two(cache->text + 23, tm.tm_sec);
    return cache->text;
}
