/* SPDX-License-Identifier: Apache-2.0 */
#include "image/oci_archive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/parse.h"
#include "base/str.h"
#include "image/layer_path.h"

#define BLOCK	  512u
#define LINKS_MAX 8u
#define EXTRA_MAX 65536u /* of one extended header */

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
	char target[100], magic[6], version[2], user[32], group[32], major[8], minor[8];
	char prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

struct member {
	char *name;
	char *target; /* a link's target; NULL: a file */
	uint64_t offset, size;
};

struct oci_archive {
	struct member *members;
	size_t n, cap;
};

void oci_archive_free(struct oci_archive *a)
{
	for (size_t i = 0; a && i < a->n; i++) {
		free(a->members[i].name);
		free(a->members[i].target);
	}
	if (a)
		free(a->members);
	free(a);
}

/* The state of the read, and the values that extended headers give the next member. */
struct scan {
	int fd;
	const char *file;
	uint64_t at, end;
	char *name, *target;
	uint64_t size;
	bool has_size;
	struct oci_archive *archive;
};

static int damaged(const struct scan *s, const char *why, struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG, "'%s' is damaged: %s", s->file, why);
}

static int no_tar(const struct scan *s, struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG, "'%s' is no tar archive", s->file);
}

static int read_at(const struct scan *s, uint64_t offset, void *to, size_t len,
		   struct mvm_error *err)
{
	ssize_t n = file_read_range(s->fd, to, len, offset);
	if (n < 0)
		return mvm_error_set(err, (int)n, "cannot read '%s': %s", s->file,
				     strerror((int)-n));
	return (size_t)n < len ? damaged(s, "it ends too early", err) : 0;
}

/* Octal digits, or GNU's base-256 with the top bit set. */
static int read_number(const char *field, size_t len, uint64_t *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	if ((unsigned char)field[0] == 0x80) {
		for (i = 1; i < len; i++) {
			if (value >> 55)
				return -EINVAL;
			value = value << 8 | (unsigned char)field[i];
		}
		*ret = value;
		return 0;
	}
	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		value = value << 3 | (uint64_t)(field[i] - '0'); /* 11 digits at most */
	if (i < len && field[i] != ' ' && field[i] != '\0')
		return -EINVAL;
	*ret = value;
	return 0;
}

static bool checksum_ok(const struct header *h)
{
	const unsigned char *bytes = (const unsigned char *)h;
	uint64_t sum = 0, want;

	for (size_t i = 0; i < BLOCK; i++) {
		bool own = i >= offsetof(struct header, checksum) &&
			   i < offsetof(struct header, type);
		sum += own ? ' ' : bytes[i];
	}
	return read_number(h->checksum, sizeof(h->checksum), &want) == 0 && want == sum;
}

/* Parse pax records: "<length> <key>=<value>\n" each. */
static int read_pax(struct scan *s, char *text, size_t len, struct mvm_error *err)
{
	while (len > 0) {
		char *end;
		unsigned long long n = strtoull(text, &end, 10);
		if (*end != ' ' || n > len || n < (size_t)(end - text) + 3 || text[n - 1] != '\n')
			return damaged(s, "an extended header is invalid", err);
		text[n - 1] = '\0';
		char *key = end + 1, *value = strchr(key, '=');
		if (!value)
			return damaged(s, "an extended header is invalid", err);
		*value++ = '\0';
		bool failed = false;
		if (strcmp(key, "path") == 0) {
			free(s->name);
			s->name = str_dup(value, &failed);
		} else if (strcmp(key, "linkpath") == 0) {
			free(s->target);
			s->target = str_dup(value, &failed);
		} else if (strcmp(key, "size") == 0) {
			if (parse_u64(value, 0, INT64_MAX, &s->size) < 0)
				return damaged(s, "an extended header is invalid", err);
			s->has_size = true;
		}
		if (failed)
			return mvm_error_oom(err);
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Read an extended header, which is about the next member. */
static int read_extra(struct scan *s, char type, uint64_t size, struct mvm_error *err)
{
	if (size > EXTRA_MAX)
		return mvm_error_set(err, -EFBIG, "'%s': a header has more than %u bytes", s->file,
				     EXTRA_MAX);
	AUTO_FREE char *text = calloc(1, (size_t)size + 1);
	if (!text)
		return mvm_error_oom(err);
	int r = read_at(s, s->at, text, (size_t)size, err);
	if (r < 0 || type == 'g')
		return r;
	if (type == 'x')
		return read_pax(s, text, (size_t)size, err);
	char **to = type == 'L' ? &s->name : &s->target;
	free(*to);
	*to = TAKE_PTR(text);
	return 0;
}

/* Make a symbolic link's target, which is relative to the link's folder ("../<id>/layer.tar"),
 * relative to the root. */
static char *symlink_from_root(const struct layer_path *link, const char *target)
{
	const char *end = link->name;

	while (strncmp(target, "../", 3) == 0) {
		target += 3;
		while (end > link->text && *--end != '/')
			;
		while (end > link->text && end[-1] != '/')
			end--;
	}
	return str_printf("%.*s%s", (int)(end - link->text), link->text, target);
}

static int keep(struct scan *s, const struct header *h, uint64_t size, struct mvm_error *err)
{
	struct oci_archive *a = s->archive;
	bool is_file = h->type == '0' || h->type == '\0' || h->type == '7';
	bool is_symlink = h->type == '2';
	bool ustar = memcmp(h->magic, "ustar", 6) == 0;
	struct layer_path path, target;

	if (!is_file && !is_symlink && h->type != '1')
		return 0;
	const char *prefix = ustar ? h->prefix : "";
	AUTO_FREE char *name = s->name ? TAKE_PTR(s->name)
				       : str_printf("%.155s%s%.100s", prefix, prefix[0] ? "/" : "",
						    h->name);
	AUTO_FREE char *to = NULL;
	if (!is_file)
		to = s->target ? TAKE_PTR(s->target) : str_printf("%.100s", h->target);
	if (!name || (!is_file && !to))
		return mvm_error_oom(err);
	if (layer_path_clean(name, &path))
		return 0; /* nobody opens such a name */
	if (is_symlink) {
		char *from_root = symlink_from_root(&path, to);
		if (!from_root)
			return mvm_error_oom(err);
		free(to);
		to = from_root;
	}
	if (to && layer_path_clean(to, &target))
		return 0;
	if (a->n == OCI_ARCHIVE_MEMBERS_MAX)
		return mvm_error_set(err, -EFBIG, "'%s' has more than %u files", s->file,
				     OCI_ARCHIVE_MEMBERS_MAX);
	if (a->n == a->cap) {
		size_t cap = a->cap ? 2 * a->cap : 64;
		struct member *members = realloc(a->members, cap * sizeof(*members));
		if (!members)
			return mvm_error_oom(err);
		a->members = members;
		a->cap = cap;
	}
	bool failed = false;
	struct member m = {
		.name = str_dup(path.text, &failed),
		.target = to ? str_dup(target.text, &failed) : NULL,
		.offset = s->at,
		.size = size,
	};
	a->members[a->n++] = m;
	return failed ? mvm_error_oom(err) : 0;
}

/* Read one header and its data.  Returns 1, 0 at the end, or -errno. */
static int next(struct scan *s, struct mvm_error *err)
{
	struct header h;
	uint64_t size;

	if (s->end < sizeof(h))
		return no_tar(s, err);
	int r = read_at(s, s->at, &h, sizeof(h), err);
	if (r < 0)
		return r;
	if (h.name[0] == '\0' && h.checksum[0] == '\0')
		return 0;
	if (!checksum_ok(&h))
		return s->at ? damaged(s, "a header has a wrong checksum", err) : no_tar(s, err);
	if (read_number(h.size, sizeof(h.size), &size) < 0)
		return damaged(s, "a size is no number", err);
	bool extra = strchr("xgLK", h.type) && h.type;
	if (s->has_size && !extra)
		size = s->size;
	if (h.type == '1' || h.type == '2')
		size = 0;
	s->at += BLOCK;
	if (size > s->end - s->at)
		return damaged(s, "it ends too early", err);
	if (extra) {
		r = read_extra(s, h.type, size, err);
	} else {
		r = keep(s, &h, size, err);
		s->has_size = false;
		free(TAKE_PTR(s->name));
		free(TAKE_PTR(s->target));
	}
	s->at += (size + BLOCK - 1) / BLOCK * BLOCK;
	return r < 0 ? r : 1;
}

static int check_plain(const struct scan *s, struct mvm_error *err)
{
	static const struct {
		const char *magic;
		size_t len;
	} packed[] = { { "\x1f\x8b", 2 },
		       { "\x28\xb5\x2f\xfd", 4 },
		       { "\xfd"
			 "7zXZ",
			 5 },
		       { "BZh", 3 } };
	char start[8];

	if (s->end < sizeof(start))
		return no_tar(s, err);
	int r = read_at(s, 0, start, sizeof(start), err);
	for (size_t i = 0; r == 0 && i < MVM_ARRAY_SIZE(packed); i++) {
		if (memcmp(start, packed[i].magic, packed[i].len) == 0) {
			r = mvm_error_set(err, -EOPNOTSUPP, "'%s' is compressed as a whole",
					  s->file);
			r = mvm_error_hint(err, r,
					   "decompress it first (gunzip, unzstd, unxz): mvm reads "
					   "the parts of an "
					   "image archive out of order");
		}
	}
	return r;
}

int oci_archive_open(int fd, const char *name, struct oci_archive **ret, struct mvm_error *err)
{
	AUTO(oci_archive) a = calloc(1, sizeof(*a));
	struct stat st;

	if (!a)
		return mvm_error_oom(err);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return mvm_error_set(err, -EINVAL, "'%s' is no regular file", name);
	struct scan s = { .fd = fd, .file = name, .end = (uint64_t)st.st_size, .archive = a };
	int r = check_plain(&s, err);
	if (r == 0) {
		do
			r = next(&s, err);
		while (r > 0);
	}
	free(s.name);
	free(s.target);
	if (r == 0)
		*ret = TAKE_PTR(a);
	return r;
}

int oci_archive_find(const struct oci_archive *a, const char *name, uint64_t *ret_offset,
		     uint64_t *ret_size)
{
	struct layer_path path;

	if (layer_path_clean(name, &path))
		return -ENOENT;
	const char *want = path.text;
	for (unsigned links = 0; links <= LINKS_MAX; links++) {
		const struct member *m = NULL;
		for (size_t i = a->n; !m && i > 0; i--) {
			if (strcmp(a->members[i - 1].name, want) == 0)
				m = &a->members[i - 1];
		}
		if (!m)
			return -ENOENT;
		if (!m->target) {
			*ret_offset = m->offset;
			*ret_size = m->size;
			return 0;
		}
		want = m->target;
	}
	return -ELOOP;
}
