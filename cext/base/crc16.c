#include "fc/crc16.h"

#include <string.h>

/* Polynomial 0x1021, the high bit first. Linear as every CRC: an entry is the sum of the entries of its bits. */
#define BIT(n, b, value) ((n) & (b) ? (value) : 0)
#define ENTRY(n)                                                                                           \
    (BIT(n, 1, 0x1021) ^ BIT(n, 2, 0x2042) ^ BIT(n, 4, 0x4084) ^ BIT(n, 8, 0x8108) ^ BIT(n, 16, 0x1231) ^ \
     BIT(n, 32, 0x2462) ^ BIT(n, 64, 0x48C4) ^ BIT(n, 128, 0x9188))
#define FOUR(n) ENTRY(n), ENTRY(n + 1), ENTRY(n + 2), ENTRY(n + 3)
#define SIXTEEN(n) FOUR(n), FOUR(n + 4), FOUR(n + 8), FOUR(n + 12)
#define SIXTY_FOUR(n) SIXTEEN(n), SIXTEEN(n + 16), SIXTEEN(n + 32), SIXTEEN(n + 48)

static const uint16_t TABLE[256] = {SIXTY_FOUR(0), SIXTY_FOUR(64), SIXTY_FOUR(128), SIXTY_FOUR(192)};

uint16_t fc_crc16(uint16_t crc, const void *p, size_t n)
{
    for (const unsigned char *at = p, *end = at + n; at < end; at++)
        crc = (uint16_t)(crc << 8 ^ TABLE[crc >> 8 ^ *at]);
    return crc;
}

fc_slice fc_crc16_tag(const char *key, size_t n)
{
    const char *open = n > 0 ? memchr(key, '{', n) : NULL;
    if (open != NULL) {
        const char *tag = open + 1, *close = memchr(tag, '}', (size_t)(key + n - tag));
        if (close != NULL && close > tag)
            return (fc_slice){tag, (size_t)(close - tag)};
    }
    return (fc_slice){key, n};
}
