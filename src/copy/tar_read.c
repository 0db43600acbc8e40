/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "copy/tar.h"
#include "copy/tar_sparse.h"

enum {
	NAME = 0,
	MODE = 100,
	SIZE = 124,
	MTIME = 136,
	CHECKSUM = 148,
	TYPE = 156,
	LINK = 157,
	MAGIC = 257,
	PREFIX = 345,
	/* GNU's, of a sparse file */
	EXTENTS = 386,
	EXTENTS_IN_HEADER = 4,
	EXTENDED = 482,
	REAL_SIZE = 483,
	/* of the blocks behind it */
	EXTENTS_IN_BLOCK = 21,
	BLOCK_EXTENDED = 504,
};

static int damaged(struct mvm_error *err, const char *what)
{
	return mvm_error_set(err, -EBADMSG, "the tar stream is damaged: %s", what);
}

/* Octal digits with white space around them, or GNU's base 256.  -EBADMSG. */
static int get_number(const char *field, size_t len, uint64_t *ret)
{
	const unsigned char *p = (const unsigned char *)field;
	uint64_t value = 0;
	size_t i = 0;

	if (p[0] == 0x80) { /* positive, big-endian */
		for (i = 1; i < len; i++) {
			if (value >> 55)
				return -EBADMSG;
			value = value << 8 | p[i];
		}
		*ret = value;
		return 0;
	}
	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
		value = value << 3 | (uint64_t)(p[i] - '0'); /* 12 digits at most */
	for (; i < len; i++) {
		if (p[i] != ' ' && p[i] != '\0')
			return -EBADMSG;
	}
	*ret = value;
	return 0;
}

static bool checksum_holds(const char *h)
{
	uint64_t stored;
	unsigned sum = 0;
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : (unsigned char)h[i];
	return get_number(h + CHECKSUM, 8, &stored) == 0 && stored == sum;
}

/* "1700000000.123456789", maybe negative, with any number of digits. */
static int get_time(const char *text, int64_t *ret_s, uint32_t *ret_ns)
{
	uint64_t s;
	uint32_t ns = 0, digits = 0;
	bool negative = *text == '-';
	char whole[24];
	size_t len = strcspn(text + negative, ".");

	if (len >= sizeof(whole))
		return -EBADMSG;
	memcpy(whole, text + negative, len);
	whole[len] = '\0';
	if (parse_u64(whole, 0, INT64_MAX, &s) < 0)
		return -EBADMSG;
	const char *p = text + negative + len;
	for (p += *p == '.'; *p >= '0' && *p <= '9'; p++) {
		if (digits++ < 9)
			ns = ns * 10 + (uint32_t)(*p - '0');
	}
	for (; digits < 9; digits++)
		ns *= 10;
	if (*p)
		return -EBADMSG;
	/* tv_nsec counts forward, also before 1970 */
	bool below = negative && ns > 0;
	*ret_s = negative ? -(int64_t)s - below : (int64_t)s;
	*ret_ns = below ? 1000000000 - ns : ns;
	return 0;
}

static int set_text(char **to, const char *text, size_t len, struct mvm_error *err)
{
	if (len > TAR_PATH_MAX)
		return damaged(err, "a name is too long");
	if (memchr(text, 0, len))
		return damaged(err, "a name holds a NUL");
	char *copy = strndup(text, len);
	if (!copy)
		return mvm_error_oom(err);
	free(*to);
	*to = copy;
	return 0;
}

static int take_record(struct tar_reader *r, const char *key, size_t key_len, const char *value,
		       size_t len, struct mvm_error *err)
{
	char text[64];
#define IS(name) (key_len == sizeof(name) - 1 && memcmp(key, name, key_len) == 0)
	if (IS("path"))
		return set_text(&r->path, value, len, err);
	if (IS("linkpath"))
		return set_text(&r->target, value, len, err);
	if (tar_sparse_is_key(key, key_len))
		return tar_sparse_take_record(r, key, key_len, value, len, err);
	if (!IS("size") && !IS("mtime"))
		return 0; /* owners, comments and others are not used */
	if (len >= sizeof(text))
		return damaged(err, "a number is too long");
	memcpy(text, value, len);
	text[len] = '\0';
	if (IS("size")) {
		r->has_size = parse_u64(text, 0, INT64_MAX, &r->size) == 0;
		return r->has_size ? 0 : damaged(err, "a size is no number");
	}
#undef IS
	r->has_mtime = get_time(text, &r->mtime_s, &r->mtime_ns) == 0;
	return r->has_mtime ? 0 : damaged(err, "a time is no number");
}

/* "length key=value\n"... */
static int take_records(struct tar_reader *r, const char *p, size_t left, struct mvm_error *err)
{
	while (left > 0) {
		uint64_t len = 0;
		size_t i = 0;
		for (; i < left && i < 6 && p[i] >= '0' && p[i] <= '9'; i++)
			len = len * 10 + (uint64_t)(p[i] - '0');
		if (i == 0 || i >= left || p[i] != ' ' || len > left || len < i + 3 ||
		    p[len - 1] != '\n')
			return damaged(err, "an extended header makes no sense");
		const char *key = p + i + 1, *end = p + len - 1;
		const char *equals = memchr(key, '=', (size_t)(end - key));
		if (!equals)
			return damaged(err, "an extended header makes no sense");
		int result = take_record(r, key, (size_t)(equals - key), equals + 1,
					 (size_t)(end - equals - 1), err);
		if (result < 0)
			return result;
		p += len;
		left -= len;
	}
	return 0;
}

static int take_extra(struct tar_reader *r, struct mvm_error *err)
{
	char type = r->extra_type;
	const char *data = r->block.data;
	size_t len = (size_t)r->extra_size;

	r->extra_type = 0;
	if (type == 'x')
		return take_records(r, data, len, err);
	if (type == 'g')
		return 0; /* defaults for all entries are not used */
	return set_text(type == 'L' ? &r->path : &r->target, data, strnlen(data, len), err);
}

/* Write a header's name, with its prefix, into TAR_BLOCK bytes at ret. */
static void header_name(const char *h, char ret[TAR_BLOCK])
{
	bool posix = memcmp(h + MAGIC, "ustar", 6) == 0; /* GNU's own has a space there */
	if (posix && h[PREFIX])
		snprintf(ret, TAR_BLOCK, "%.155s/%.100s", h + PREFIX, h + NAME);
	else
		snprintf(ret, TAR_BLOCK, "%.100s", h + NAME);
}

static bool is_sparse(const char *h)
{
	return h[TYPE] == 'S' && memcmp(h + MAGIC, "ustar  ", 8) == 0;
}

static enum tar_type type_of(char flag, const char *path)
{
	size_t len = strlen(path);
	switch (flag) {
	case '0':
	case '\0':
	case '7':
		return len && path[len - 1] == '/' ? TAR_FOLDER : TAR_FILE; /* as before ustar */
	case '1':
		return TAR_HARDLINK;
	case '2':
		return TAR_SYMLINK;
	case '5':
		return TAR_FOLDER;
	default:
		return TAR_SPECIAL;
	}
}

static void forget_extras(struct tar_reader *r)
{
	free(TAKE_PTR(r->path));
	free(TAKE_PTR(r->target));
	r->has_size = r->has_mtime = false;
	tar_sparse_forget(r);
}

static int take_entry(struct tar_reader *r, const char *h, uint64_t size, struct mvm_error *err)
{
	char name[TAR_BLOCK], link[101];
	uint64_t mode, mtime;

	header_name(h, name);
	snprintf(link, sizeof(link), "%.100s", h + LINK);
	if (get_number(h + MODE, 8, &mode) < 0)
		return damaged(err, "a mode is no number");
	if (r->sparse.name) {
		free(r->path);
		r->path = TAKE_PTR(r->sparse.name);
	}
	if (get_number(h + MTIME, 12, &mtime) < 0 || mtime > INT64_MAX)
		mtime = 0; /* before 1970, in GNU's way */
	struct tar_entry e = {
		.path = r->path ? r->path : name,
		.target = r->target ? r->target : link,
		.mode = (mode_t)(mode & 07777),
		.mtime_s = r->has_mtime ? r->mtime_s : (int64_t)mtime,
		.mtime_ns = r->has_mtime ? r->mtime_ns : 0,
	};
	r->is_sparse = r->sparse.any || is_sparse(h);
	e.type = r->is_sparse ? TAR_FILE : type_of(h[TYPE], e.path);
	if (r->is_sparse) {
		if (r->map.stored != size)
			return damaged(err, "a sparse file's size is not that of its pieces");
		e.map = &r->map;
	}
	r->extent = 0;
	r->at = 0;
	r->left = size;
	r->padding = (uint32_t)(-size % TAR_BLOCK);
	r->skip = e.type != TAR_FILE;
	if (e.map)
		e.size = r->real_size;
	else if (e.type == TAR_FILE)
		e.size = size;
	else if (e.type != TAR_SPECIAL && size > 0 && e.type != TAR_HARDLINK)
		return damaged(err, "a folder or link has contents");
	int result = r->sink.entry(r->sink.arg, &e, err);
	forget_extras(r);
	return result;
}

/* Take the extents of one block of a sparse file's map; more: another block follows. */
static int take_extents(struct tar_reader *r, const char *p, size_t n, bool more,
			struct mvm_error *err)
{
	uint64_t at, len;
	bool over = false; /* the rest is unused */
	for (size_t i = 0; i < n; i++, p += 24) {
		over |= !p[0];
		if (over && !p[0])
			continue;
		if (over || get_number(p, 12, &at) < 0 || get_number(p + 12, 12, &len) < 0)
			return damaged(err, "a sparse file's map makes no sense");
		int result = tar_map_add(&r->map, at, len, r->real_size);
		if (result == -ENOMEM)
			return mvm_error_oom(err);
		if (result < 0)
			return damaged(err, result == -EFBIG
						    ? "a sparse file has too many pieces"
						    : "a sparse file's map makes no sense");
	}
	return over && more ? damaged(err, "a sparse file's map makes no sense") : 0;
}

/* The header of a sparse file.  The entry comes once its map is whole. */
static int take_sparse(struct tar_reader *r, const char *h, uint64_t size, struct mvm_error *err)
{
	r->map.n = 0;
	r->map.stored = 0;
	if (get_number(h + REAL_SIZE, 12, &r->real_size) < 0 || r->real_size > INT64_MAX)
		return damaged(err, "a size is no number");
	r->in_map = h[EXTENDED] != 0;
	int result = take_extents(r, h + EXTENTS, EXTENTS_IN_HEADER, r->in_map, err);
	if (result < 0 || !r->in_map)
		return result < 0 ? result : take_entry(r, h, size, err);
	memcpy(r->header, h, TAR_BLOCK);
	r->header_size = size;
	return 0;
}

/* The header of a sparse file in pax form, whose map is in its records, or in front of the
 * contents. */
static int take_pax_sparse(struct tar_reader *r, const char *h, uint64_t size,
			   struct mvm_error *err)
{
	if (type_of(h[TYPE], "") != TAR_FILE)
		return damaged(err, "a sparse file is none");
	int result = tar_sparse_begin(r, err);
	r->in_map = result > 0;
	if (result <= 0)
		return result < 0 ? result : take_entry(r, h, size, err);
	memcpy(r->header, h, TAR_BLOCK);
	r->header_size = size;
	return 0;
}

static int take_pax_map(struct tar_reader *r, struct mvm_error *err)
{
	if (r->header_size < TAR_BLOCK)
		return damaged(err, "a sparse file's map makes no sense");
	r->header_size -= TAR_BLOCK;
	int result = tar_sparse_take_block(r, r->block.data, err);
	r->in_map = result > 0;
	if (result == 0)
		return take_entry(r, r->header, r->header_size, err);
	return result < 0 ? result : 0;
}

static int take_map(struct tar_reader *r, struct mvm_error *err)
{
	const char *h = r->block.data;
	if (r->sparse.any)
		return take_pax_map(r, err);
	r->in_map = h[BLOCK_EXTENDED] != 0;
	int result = take_extents(r, h, EXTENTS_IN_BLOCK, r->in_map, err);
	if (result < 0 || r->in_map)
		return result;
	return take_entry(r, r->header, r->header_size, err);
}

static int take_header(struct tar_reader *r, struct mvm_error *err)
{
	const char *h = r->block.data;
	uint64_t size;

	if (mem_is_zero(h, TAR_BLOCK)) {
		r->ended = true;
		return 0;
	}
	if (!checksum_holds(h))
		return damaged(err, "a header's checksum is wrong; compressed tars are not read");
	if (get_number(h + SIZE, 12, &size) < 0 || size > INT64_MAX)
		return damaged(err, "a size is no number");
	if (h[TYPE] != 'x' && h[TYPE] != 'g' && h[TYPE] != 'L' && h[TYPE] != 'K') {
		if (r->has_size)
			size = r->size;
		if (r->sparse.any)
			return take_pax_sparse(r, h, size, err);
		return is_sparse(h) ? take_sparse(r, h, size, err) : take_entry(r, h, size, err);
	}
	if (size > TAR_EXTRA_MAX)
		return damaged(err, "an extended header is too long");
	r->extra_type = h[TYPE];
	r->extra_size = size;
	r->want = (size_t)((size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK);
	return 0;
}

/* Handle a whole block, or all blocks of an extended header. */
static int take_block(struct tar_reader *r, struct mvm_error *err)
{
	r->want = TAR_BLOCK;
	int result;
	if (r->in_map)
		result = take_map(r, err);
	else
		result = r->extra_type ? take_extra(r, err) : take_header(r, err);
	r->block.len = 0;
	if (result == 0 && r->extra_type && r->want == 0) { /* an empty one */
		r->extra_type = 0;
		r->want = TAR_BLOCK;
	}
	return result;
}

/* Where the next piece of a sparse file belongs, and how much of it. */
static uint64_t place_in_map(struct tar_reader *r, size_t *n)
{
	while (r->at == r->map.v[r->extent].len) {
		r->extent++;
		r->at = 0;
	}
	const struct tar_extent *e = &r->map.v[r->extent];
	if (*n > e->len - r->at)
		*n = (size_t)(e->len - r->at);
	return e->at + r->at;
}

static int take_contents(struct tar_reader *r, const char *data, size_t len, size_t *ret_used,
			 struct mvm_error *err)
{
	if (r->left > 0) {
		size_t n = len < r->left ? len : (size_t)r->left;
		uint64_t at = r->is_sparse ? place_in_map(r, &n) : r->at;
		int result = r->skip ? 0 : r->sink.data(r->sink.arg, at, data, n, err);
		r->at += n;
		r->left -= n;
		*ret_used = n;
		return result;
	}
	*ret_used = len < r->padding ? len : r->padding;
	r->padding -= (uint32_t)*ret_used;
	return 0;
}

int tar_read(struct tar_reader *r, const void *data, size_t len, struct mvm_error *err)
{
	const char *p = data;

	while (len > 0 && !r->ended && r->failed == 0) {
		size_t used;
		if (r->left > 0 || r->padding > 0) {
			r->failed = take_contents(r, p, len, &used, err);
		} else {
			size_t want = r->want ? r->want : TAR_BLOCK;
			used = len < want - r->block.len ? len : want - r->block.len;
			strbuf_add(&r->block, p, used);
			if (r->block.failed)
				r->failed = mvm_error_oom(err);
			else if (r->block.len == want)
				r->failed = take_block(r, err);
		}
		p += used;
		len -= used;
	}
	return r->failed;
}

int tar_read_end(struct tar_reader *r, struct mvm_error *err)
{
	if (r->failed == 0 && !r->ended)
		r->failed = damaged(err, "it ends too early");
	return r->failed;
}

void tar_reader_done(struct tar_reader *r)
{
	strbuf_done(&r->block);
	tar_map_done(&r->map);
	forget_extras(r);
}
