/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_NAME_H
#define MODEL_NAME_H

/*
 * Names that become parts of paths.  Every name from outside is checked here first: typed, read
 * from a file, listed in a folder or sent by a peer.
 */

#include <stdbool.h>

#include "base/error.h"

enum name_kind {
	NAME_TEMPLATE, /* 1 to 63 of a-z 0-9 - _, starting with a letter or digit */
	NAME_INSTANCE, /* as templates */
	NAME_ROLE,     /* 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit */
	NAME_PROFILE,  /* as roles */
	NAME_KERNEL,   /* as roles */
	NAME_VOLUME,   /* as roles */
	NAME_KEY,      /* as roles */
	NAME_TOKEN,    /* as roles */
	NAME_REVISION, /* 1 to 64 of 0-9 a-z */
};

bool name_valid(enum name_kind kind, const char *s);

/* name_valid() with an error: "'A b' is no valid template name: use 1 to 63 of ...".  -EINVAL. */
int name_check(enum name_kind kind, const char *s, struct mvm_error *err);

/* The rule in words: "use 1 to 63 of ...". */
const char *name_rule(enum name_kind kind);

#endif
