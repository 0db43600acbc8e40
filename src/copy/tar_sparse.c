/* SPDX-License-Identifier: Apache-2.0 */
#include "copy/tar_sparse.h"

#include <errno.h>
#include <string.h>

#define PREFIX "GNU.sparse."

static int no_map(struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG,
			     "the tar stream is damaged: a sparse file's map makes no sense");
}

bool tar_sparse_is_key(const char *key, size_t key_len)
{
	return key_len > strlen(PREFIX) && memcmp(key, PREFIX, strlen(PREFIX)) == 0;
}

/* Decimal digits, without anything else. */
static int get_number(const char *p, size_t len, uint64_t *ret)
{
	uint64_t n = 0;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9' || n > INT64_MAX / 10 - 1)
			return -EBADMSG;
		n = n * 10 + (uint64_t)(p[i] - '0');
	}
	*ret = n;
	return len ? 0 : -EBADMSG;
}

/* Take the next number of the map: an offset, or a length, which makes an extent of both. */
static int take_number(struct tar_reader *r, uint64_t n, struct mvm_error *err)
{
	struct tar_sparse *s = &r->sparse;
	s->half = !s->half;
	if (s->half) {
		s->offset = n;
		return 0;
	}
	/* the file's size may come after it, so tar_sparse_begin() looks at that */
	int result = tar_map_add(&r->map, s->offset, n, INT64_MAX);
	if (result == -EFBIG)
		return mvm_error_set(
			err, -EBADMSG,
			"the tar stream is damaged: a sparse file has too many pieces");
	if (result == -ENOMEM)
		return mvm_error_oom(err);
	return result < 0 ? no_map(err) : 0;
}

static int take_list(struct tar_reader *r, const char *p, size_t len, struct mvm_error *err)
{
	const char *end = p + len;
	for (int result = 0; p < end;) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *to = comma ? comma : end;
		uint64_t n;
		if (get_number(p, (size_t)(to - p), &n) < 0)
			return no_map(err);
		result = take_number(r, n, err);
		if (result < 0)
			return result;
		p = comma ? comma + 1 : end;
	}
	return 0;
}

static int take_name(struct tar_sparse *s, const char *value, size_t len, struct mvm_error *err)
{
	if (len > TAR_PATH_MAX || memchr(value, 0, len))
		return mvm_error_set(err, -EBADMSG,
				     "the tar stream is damaged: a name is too long or has a NUL");
	free(s->name);
	s->name = strndup(value, len);
	return s->name ? 0 : mvm_error_oom(err);
}

int tar_sparse_take_record(struct tar_reader *r, const char *key, size_t key_len, const char *value,
			   size_t len, struct mvm_error *err)
{
	struct tar_sparse *s = &r->sparse;
	uint64_t n;
	if (!s->any) {
		*s = (struct tar_sparse){ .any = true };
		r->map.n = 0;
		r->map.stored = 0;
	}
	key += strlen(PREFIX);
	key_len -= strlen(PREFIX);
#define IS(word) (key_len == sizeof(word) - 1 && memcmp(key, word, key_len) == 0)
	if (IS("name"))
		return take_name(s, value, len, err);
	if (IS("map"))
		return take_list(r, value, len, err);
	bool size = IS("size") || IS("realsize"), major = IS("major"), minor = IS("minor");
	bool offset = IS("offset"), bytes = IS("numbytes");
#undef IS
	if (!size && !major && !minor && !offset && !bytes)
		return 0; /* numblocks, and what later versions add */
	if (get_number(value, len, &n) < 0 || (offset && s->half) || (bytes && !s->half))
		return no_map(err);
	if (offset || bytes)
		return take_number(r, n, err);
	if (size)
		s->size = n;
	s->has_size |= size;
	s->major = major ? n : s->major;
	s->minor = minor ? n : s->minor;
	return 0;
}

/* Does the map fit the file?  One without data is a hole as a whole. */
static int check_map(struct tar_reader *r, struct mvm_error *err)
{
	const struct tar_sparse *s = &r->sparse;
	const struct tar_extent *last = r->map.n ? &r->map.v[r->map.n - 1] : NULL;
	if (!s->has_size || s->half || (last && last->at + last->len > s->size))
		return no_map(err);
	r->real_size = s->size;
	return last || tar_map_add(&r->map, s->size, 0, s->size) == 0 ? 0 : mvm_error_oom(err);
}

int tar_sparse_begin(struct tar_reader *r, struct mvm_error *err)
{
	struct tar_sparse *s = &r->sparse;
	if (s->major == 0)
		return check_map(r, err);
	if (s->major != 1 || s->minor != 0 || r->map.n || s->half)
		return mvm_error_set(err, -EBADMSG,
				     "the tar stream has a sparse file in a form that mvm does not "
				     "know: make it with --format=gnu, or without --sparse");
	s->has_count = false;
	s->number = s->digits = 0;
	return 1;
}

int tar_sparse_take_block(struct tar_reader *r, const char block[TAR_BLOCK], struct mvm_error *err)
{
	struct tar_sparse *s = &r->sparse;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		char c = block[i];
		if (c >= '0' && c <= '9' && s->number <= INT64_MAX / 10 - 1) {
			s->number = s->number * 10 + (uint64_t)(c - '0');
			s->digits = 1;
			continue;
		}
		if (c != '\n' || !s->digits)
			return no_map(err);
		int result = 0;
		if (s->has_count)
			result = take_number(r, s->number, err);
		else
			s->count = s->number;
		s->has_count = true;
		s->number = s->digits = 0;
		if (result < 0)
			return result;
		if (r->map.n == s->count && !s->half)
			return check_map(r, err); /* the block's rest is padding */
	}
	return 1;
}

void tar_sparse_forget(struct tar_reader *r)
{
	free(r->sparse.name);
	r->sparse = (struct tar_sparse){ 0 };
}
