/* fc/decoder.h - content codings taken off again (RFC 9110 8.4.1): gzip, of one or more members (RFC 1952 2.2), and br (RFC 7932).
 *
 * A decoder takes input and gives output in steps: its owner decides how much room there is, and so how much a few bytes that
 * unfold to gigabytes make at one time. Memory: gzip about 40 KB, br as much as the sender's window, 16 MB at the most.
 * Belongs to one thread.
 */
#ifndef FC_DECODER_H
#define FC_DECODER_H

#include "fc/encoder.h"

typedef struct fc_decoder fc_decoder;

/* coding: not identity. NULL: no memory. */
fc_decoder *fc_decoder_new(fc_coding coding);
void fc_decoder_free(fc_decoder *d);
/* Moves *p, *n past what was taken and *out, *room past what was put out. 1: there may be more to put out, call again with
 * fresh room; 0: all of *n was taken and all it makes was put out; -EBADMSG: it is not of that coding, or goes on behind its
 * end; -ENOMEM. */
int fc_decoder_step(fc_decoder *d, const char **p, size_t *n, char **out, size_t *room);
/* Has the coding's own end been reached, so that nothing is missing? */
bool fc_decoder_ended(const fc_decoder *d);

#endif
