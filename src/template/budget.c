/* SPDX-License-Identifier: Apache-2.0 */
#include "template/budget.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "store/revision.h"

struct budget_entry {
	int64_t built_ns;
	struct stat *files;
	size_t n;
};

void budget_done(struct budget *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->v[i].files);
	free(b->v);
	inodes_done(&b->files);
	*b = (struct budget){ 0 };
}

static uint64_t disk_bytes(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512;
}

/* Remember a revision that may go.  Takes files over. */
static int remember(struct budget *b, int64_t built_ns, struct stat *files, size_t n)
{
	if (b->n == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : 64;
		struct budget_entry *v = reallocarray(b->v, cap, sizeof(*v));
		if (!v) {
			free(files);
			return -ENOMEM;
		}
		b->v = v;
		b->cap = cap;
	}
	b->v[b->n++] = (struct budget_entry){ built_ns, files, n };
	return 0;
}

int budget_add(struct budget *b, int dir_fd, int64_t built_ns, bool may_go)
{
	AUTO_DONE(strv) paths = { 0 };
	size_t n = 0;

	int r = store_revision_files(dir_fd, &paths);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	AUTO_FREE struct stat *files = calloc(paths.n + 1, sizeof(*files));
	if (!files)
		return -ENOMEM;
	for (size_t i = 0; i < paths.n; i++) {
		struct stat *st = &files[n];
		if (fstatat(dir_fd, paths.v[i], st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		struct inode *file = inodes_get(&b->files, st);
		if (!file)
			return -ENOMEM;
		b->bytes += file->links++ == 0 ? disk_bytes(st) : 0;
		n++;
	}
	return may_go ? remember(b, built_ns, TAKE_PTR(files), n) : 0;
}

static int older_first(const void *a, const void *b)
{
	const struct budget_entry *x = a, *y = b;
	return (x->built_ns > y->built_ns) - (x->built_ns < y->built_ns);
}

static uint64_t take_away(struct budget *b, const struct budget_entry *e)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < e->n; i++) {
		struct inode *file = inodes_find(&b->files, &e->files[i]);
		if (file && --file->links == 0)
			bytes += disk_bytes(&e->files[i]);
	}
	return bytes;
}

void budget_find(struct budget *b, uint64_t max_bytes, int64_t *ret_before_ns, uint64_t *ret_left)
{
	*ret_before_ns = INT64_MIN;
	if (b->n)
		qsort(b->v, b->n, sizeof(*b->v), older_first);
	for (size_t i = 0; i < b->n && b->bytes > max_bytes; i++) {
		b->bytes -= take_away(b, &b->v[i]);
		*ret_before_ns = b->v[i].built_ns + 1;
	}
	*ret_left = b->bytes;
}
