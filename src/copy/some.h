/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COPY_SOME_H
#define COPY_SOME_H

/* How many things there were, and the first few of them for people. */

#include <stdint.h>

#include "base/str.h"

#define SOME_SHOWN    3u
#define SOME_TEXT_MAX 200u /* bytes of each */

struct some {
	uint64_t n;
	struct strbuf text; /* "a; b; c and others"; without memory only the number is told */
};

static inline void some_add(struct some *s, const char *text)
{
	if (s->n++ < SOME_SHOWN)
		strbuf_addf(&s->text, "%s%.*s", s->n > 1 ? "; " : "", (int)SOME_TEXT_MAX, text);
	else if (s->n == SOME_SHOWN + 1)
		strbuf_adds(&s->text, " and others");
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
