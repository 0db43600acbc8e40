/* SPDX-License-Identifier: Apache-2.0 */
#include "template/list_index.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define INDEX_NAME "templates.index" /* in cache/ */

static const struct header {
	char magic[8];
	uint32_t version, record_size;
} header = { "mvm-list", 1, sizeof(struct list_record) };

/* This finds damage, not forgery: a user who may write here may write templates too. */
static uint64_t sum_of(const struct list_record *r)
{
	uint64_t words[sizeof(*r) / 8], sum = UINT64_C(0xcbf29ce484222325); /* as FNV-1a */

	memcpy(words, r, sizeof(words));
	for (size_t i = 1; i < sizeof(words) / 8; i++) {
		sum = (sum ^ words[i]) * UINT64_C(0x100000001b3);
		sum ^= sum >> 32;
	}
	return sum;
}

static bool is_sound(const struct list_record *r)
{
	return r->sum == sum_of(r) && memchr(r->id, 0, sizeof(r->id)) &&
	       memchr(r->role, 0, sizeof(r->role)) && memchr(r->profile, 0, sizeof(r->profile)) &&
	       memchr(r->current, 0, sizeof(r->current));
}

static void close_file(FILE **f)
{
	if (*f)
		fclose(*f); /* the file was only read, or is discarded */
	*f = NULL;
}

/* Open a stream on a descriptor.  Takes the descriptor over, also on failure. */
static FILE *stream(int fd, const char *mode)
{
	FILE *f = fd < 0 ? NULL : fdopen(fd, mode);
	if (!f && fd >= 0)
		close(fd);
	return f;
}

/* Read the next record ahead.  False at the end, and at the first record that cannot be used. */
static bool read_next(struct list_index *ix)
{
	char last[sizeof(ix->next.id)];

	memcpy(last, ix->next.id, sizeof(last));
	ix->have_next = ix->old && fread(&ix->next, sizeof(ix->next), 1, ix->old) == 1 &&
			is_sound(&ix->next) && strcmp(ix->next.id, last) > 0;
	return ix->have_next;
}

void list_index_open(struct store *s, struct list_index *ret)
{
	struct header found;
	int cache = store_dir(s, STORE_CACHE);

	*ret = (struct list_index){ .store = s };
	if (cache < 0)
		return;
	ret->old = stream(openat(cache, INDEX_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK),
			  "r");
	if (ret->old && (fread(&found, sizeof(found), 1, ret->old) != 1 ||
			 memcmp(&found, &header, sizeof(header)) != 0))
		close_file(&ret->old);
	read_next(ret);
}

int64_t list_index_now(struct list_index *ix)
{
	struct stat st;

	if (!ix->new && !ix->failed) {
		int dir = store_scratch(ix->store, NULL);
		ix->new = dir < 0 ? NULL
				  : stream(openat(dir, INDEX_NAME,
						  O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
					   "w");
		ix->failed = !ix->new || fwrite(&header, sizeof(header), 1, ix->new) != 1 ||
			     fstat(fileno(ix->new), &st) < 0;
		ix->now_ns = ix->failed ? INT64_MIN
					: st.st_ctim.tv_sec * NS_PER_S + st.st_ctim.tv_nsec;
	}
	return ix->failed ? INT64_MIN : ix->now_ns;
}

static void add(struct list_index *ix, const struct list_record *r)
{
	if (!ix->failed && fwrite(r, sizeof(*r), 1, ix->new) != 1)
		ix->failed = true;
}

/* Begin the new index: copy the records kept so far.  Later records are added one by one. */
static void make_dirty(struct list_index *ix)
{
	struct list_record r;
	off_t at = sizeof(header);

	if (ix->dirty)
		return;
	ix->dirty = true;
	list_index_now(ix);
	for (size_t i = 0; i < ix->n_kept && !ix->failed; i++, at += (off_t)sizeof(r)) {
		if (pread(fileno(ix->old), &r, sizeof(r), at) != (ssize_t)sizeof(r))
			ix->failed = true;
		add(ix, &r);
	}
}

const struct list_record *list_index_find(struct list_index *ix, const char *id)
{
	for (; ix->have_next; read_next(ix)) {
		int order = strcmp(ix->next.id, id);
		if (order >= 0)
			return order == 0 ? &ix->next : NULL;
		make_dirty(ix); /* this record's template is gone */
	}
	return NULL;
}

void list_index_keep(struct list_index *ix)
{
	if (ix->dirty)
		add(ix, &ix->next);
	else
		ix->n_kept++;
	read_next(ix);
}

void list_index_add(struct list_index *ix, struct list_record *record)
{
	make_dirty(ix);
	record->sum = sum_of(record);
	add(ix, record);
}

void list_index_save(struct list_index *ix)
{
	if (ix->have_next)
		make_dirty(ix); /* the remaining records' templates are gone */
	if (!ix->dirty || ix->failed || fflush(ix->new) != 0)
		return;
	/* if this fails, the next listing makes the index again */
	renameat(store_scratch(ix->store, NULL), INDEX_NAME, store_dir(ix->store, STORE_CACHE),
		 INDEX_NAME);
}

void list_index_done(struct list_index *ix)
{
	if (ix->new) /* it still has this name unless it was saved */
		unlinkat(store_scratch(ix->store, NULL), INDEX_NAME, 0);
	close_file(&ix->old);
	close_file(&ix->new);
}
