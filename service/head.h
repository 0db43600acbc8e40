/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_HEAD_H
#define SERVICE_HEAD_H

/*
 * The answer of a server in a guest: its head, and where its body ends.  Pure, and bounded, since
 * the guest may send anything.
 *
 * Strict where leniency would let two readers see different answers (a length twice, a length
 * beside chunks, blanks before a colon, folded fields); lenient in one thing, lines that end in LF
 * alone. Source: RFC 9112, 2.2, 4, 5, 6, 7.1; RFC 9110, 15.
 */

#include <mvm/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_BYTES_MAX	((size_t)64 * 1024)
#define HEAD_FIELDS_MAX 128

struct head_field {
	const char *name, *value; /* in the answer's bytes, not NUL-terminated */
	size_t name_len, value_len;
};

enum head_body {
	HEAD_BODY_NONE,
	HEAD_BODY_LENGTH,
	HEAD_BODY_CHUNKS,
	HEAD_BODY_REST, /* until the server closes */
};

struct head {
	unsigned status; /* 100 to 599 */
	enum head_body body;
	uint64_t length; /* of HEAD_BODY_LENGTH */
	bool has_length; /* the head says a length, also when no body follows (HEAD) */
	struct head_field fields[HEAD_FIELDS_MAX];
	size_t n_fields;
};

/*
 * Read a head.
 *
 *   data, len   the bytes so far
 *   is_head     it answers a HEAD request
 *
 * Returns the head's length with the empty line, 0 when it is not whole yet, or -EPROTO or -EFBIG
 * with the reason.
 */
int head_parse(const char *data, size_t len, bool is_head, struct head *ret, struct mvm_error *err);

/* Is the field of this name?  In any case of letters. */
bool head_field_is(const struct head_field *f, const char *name);

/* Does a field that lists words ("Connection: close, x") have this one? */
bool head_has_word(const struct head *h, const char *name, const char *word);

/* Is the field for one connection, so that no proxy passes it on?  Those that Connection lists are,
 * too. */
bool head_is_hop(const struct head *h, const struct head_field *f);

/* Where in a body its reader is. */
struct body {
	enum head_body kind;
	uint64_t left;	/* of the length, or of the chunk */
	int state;	/* of chunks */
	unsigned lines; /* bytes of the line that is being read */
	bool ended;
};

void body_begin(struct body *b, const struct head *h);

/*
 * Take bytes of a body.
 *
 *   ret, ret_len  the contents among them, in data; may be empty
 *
 * Returns how many bytes were taken, at least one unless the body has ended; or -EPROTO.  Call it
 * again for the rest.
 */
int body_take(struct body *b, const char *data, size_t len, const char **ret, size_t *ret_len);

/* The server has closed.  -EPROTO: in the middle of its body. */
int body_close(struct body *b);

#endif
