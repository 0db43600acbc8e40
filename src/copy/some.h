/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_SOME_H
#define COPY_SOME_H

/* A count of items, with the text of the first few. */

#include <errno.h>
#include <mvm/error.h>
#include <stdint.h>

#include "base/str.h"

#define SOME_SHOWN    3u
#define SOME_TEXT_MAX 200u /* bytes of each */

struct some {
	uint64_t n;
	struct strbuf text; /* "a; b; c and others"; incomplete when memory ran out */
	int code;	    /* of the first failure among them; 0: they are none */
};

static inline void some_add(struct some *s, const char *text)
{
	if (s->n++ < SOME_SHOWN)
		strbuf_addf(&s->text, "%s%.*s", s->n > 1 ? "; " : "", (int)SOME_TEXT_MAX, text);
	else if (s->n == SOME_SHOWN + 1)
		strbuf_adds(&s->text, " and others");
}

/* Count a failure instead of ending with it, unless memory ran out.  Returns 0, or r when it
 * stands. */
static inline int some_forgive(struct some *s, int r, const struct mvm_error *err)
{
	if (r >= 0 || r == -ENOMEM)
		return r;
	if (s->n == 0)
		s->code = r;
	some_add(s, err->text);
	return 0;
}

static inline const char *some_text(const struct some *s)
{
	return s->text.len ? s->text.data : "";
}

static inline void some_done(struct some *s)
{
	strbuf_done(&s->text);
}

#endif
