/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_E2B_MULTIPART_H
#define SERVICE_E2B_MULTIPART_H

/*
 * multipart/form-data, piece by piece (RFC 7578, RFC 2046 5.1).
 *
 * The reader hands bytes in and takes events out.  It keeps no more than one part's head, of at
 *most MULTIPART_HEAD_MAX bytes; contents are borrowed from the caller's bytes.
 *
 *	while (len > 0 || …) {
 *		size_t n = len;
 *		r = multipart_next(&m, data, &n, &event, &err);
 *		data += n, len -= n;
 *	}
 */

#include <mvm/error.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

#define MULTIPART_HEAD_MAX     ((size_t)8192)
#define MULTIPART_BOUNDARY_MAX 70

enum multipart_kind {
	MULTIPART_MORE, /* it needs more bytes */
	MULTIPART_PART, /* a part begins: name, filename */
	MULTIPART_DATA, /* len bytes of the part at data */
	MULTIPART_PART_END,
	MULTIPART_END, /* the rest of the body counts nothing */
};

struct multipart_event {
	enum multipart_kind kind;
	const char *data; /* valid until the next call, with the caller's bytes */
	size_t len;
};

struct multipart {
	char delimiter[MULTIPART_BOUNDARY_MAX + 5]; /* "\r\n--BOUNDARY" */
	size_t delimiter_len, matched;
	size_t skip; /* bytes of `matched` that are no contents, should the rest not follow */
	enum { IN_PREAMBLE, AFTER_DELIMITER, IN_HEAD, IN_DATA, AT_END } state;
	char after[2]; /* what follows the delimiter */
	size_t n_after;
	struct strbuf head;
	char *name, *filename; /* of the part; NULL: it has none */
};

/* Begin, with the request's Content-Type.  -EINVAL: it is not multipart, or has no boundary. */
int multipart_init(struct multipart *m, const char *content_type, struct mvm_error *err);
void multipart_done(struct multipart *m);

/*
 * Take the next event.
 *
 *   len  how many bytes there are at data; then how many were taken
 *
 * Returns 0, or -EINVAL when the body is damaged.
 */
int multipart_next(struct multipart *m, const char *data, size_t *len, struct multipart_event *ret,
		   struct mvm_error *err);

#endif
