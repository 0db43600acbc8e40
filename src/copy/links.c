/* SPDX-License-Identifier: Apache-2.0 */
#include "copy/links.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

struct link {
	dev_t dev;
	ino_t ino;
	char path[];
};

static int compare(const void *a, const void *b)
{
	const struct link *x = a, *y = b;
	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return 0;
}

int links_first(struct links *l, const struct stat *st, const char *path, const char **ret_first)
{
	size_t size = strlen(path) + 1;
	struct link *new = malloc(sizeof(*new) + size);
	if (!new)
		return -ENOMEM;
	new->dev = st->st_dev;
	new->ino = st->st_ino;
	memcpy(new->path, path, size);
	struct link **found = tsearch(new, &l->tree, compare);
	*ret_first = NULL;
	if (found && *found != new)
		*ret_first = (*found)->path;
	if (!found || *found != new)
		free(new);
	return found ? 0 : -ENOMEM;
}

void links_done(struct links *l)
{
	tdestroy(l->tree, free);
	l->tree = NULL;
}
