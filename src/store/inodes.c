/* SPDX-License-Identifier: Apache-2.0 */
#include "store/inodes.h"

#include <stdlib.h>

#define SIZE_MIN 64

void inodes_done(struct inodes *t)
{
	free(t->slots);
	*t = (struct inodes){ 0 };
}

/* The slot of this file, or the free slot for it. */
static struct inode *find(struct inode *slots, size_t size, dev_t dev, ino_t ino)
{
	/* a Fibonacci hash: inode numbers come in runs */
	size_t i = (size_t)(((uint64_t)ino ^ ((uint64_t)dev << 32)) *
				    UINT64_C(0x9e3779b97f4a7c15) >>
			    20);
	for (i &= size - 1; slots[i].used; i = (i + 1) & (size - 1)) {
		if (slots[i].ino == ino && slots[i].dev == dev)
			break;
	}
	return &slots[i];
}

static bool grow(struct inodes *t)
{
	size_t size = t->size ? t->size * 2 : SIZE_MIN;
	struct inode *slots = calloc(size, sizeof(*slots));
	if (!slots)
		return false;
	for (size_t i = 0; i < t->size; i++) {
		if (t->slots[i].used)
			*find(slots, size, t->slots[i].dev, t->slots[i].ino) = t->slots[i];
	}
	free(t->slots);
	t->slots = slots;
	t->size = size;
	return true;
}

struct inode *inodes_get(struct inodes *t, const struct stat *st)
{
	if (t->n * 2 >= t->size && !grow(t))
		return NULL;
	struct inode *i = find(t->slots, t->size, st->st_dev, st->st_ino);
	if (!i->used) {
		*i = (struct inode){ .dev = st->st_dev, .ino = st->st_ino, .used = true };
		t->n++;
	}
	return i;
}

struct inode *inodes_find(const struct inodes *t, const struct stat *st)
{
	struct inode *i = t->size ? find(t->slots, t->size, st->st_dev, st->st_ino) : NULL;
	return i && i->used ? i : NULL;
}
