/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "copy/tar.h"

/* Offsets and lengths of the fields of a ustar header. */
enum {
	NAME = 0,
	NAME_SIZE = 100,
	MODE = 100,
	UID = 108,
	GID = 116,
	SIZE = 124,
	MTIME = 136,
	CHECKSUM = 148,
	TYPE = 156,
	LINK = 157,
	LINK_SIZE = 100,
	MAGIC = 257,
	MAJOR = 329,
	MINOR = 337,
	/* GNU's, of a sparse file */
	EXTENTS = 386,
	EXTENTS_IN_HEADER = 4,
	EXTENDED = 482,
	REAL_SIZE = 483,
	/* of the blocks behind it */
	EXTENTS_IN_BLOCK = 21,
	BLOCK_EXTENDED = 504,
};

#define SIZE_OCTAL_MAX	UINT64_C(077777777777)
#define ID_OCTAL_MAX	07777777u
#define MTIME_OCTAL_MAX INT64_C(077777777777)

static void put_octal(char *at, int width, uint64_t value)
{
	char text[24];
	snprintf(text, sizeof(text), "%0*" PRIo64, width - 1, value);
	memcpy(at, text, (size_t)width); /* with its NUL */
}

/* A size or offset, beyond 8 GiB in GNU's base 256. */
static void put_size(char *at, uint64_t value)
{
	if (value <= SIZE_OCTAL_MAX) {
		put_octal(at, 12, value);
		return;
	}
	memset(at, 0, 12);
	at[0] = (char)0x80;
	for (int i = 11; value; i--, value >>= 8)
		at[i] = (char)(value & 0xff);
}

/* "length key=value\n", where length counts its own digits. */
static void put_bytes(struct strbuf *to, const char *key, const void *value, size_t n)
{
	size_t rest = strlen(key) + n + 3, len = rest + 1;
	char digits[24];

	while ((size_t)snprintf(digits, sizeof(digits), "%zu", len) + rest != len)
		len++;
	strbuf_addf(to, "%zu %s=", len, key);
	strbuf_add(to, value, n);
	strbuf_adds(to, "\n");
}

static void put_record(struct strbuf *to, const char *key, const char *value)
{
	put_bytes(to, key, value, strlen(value));
}

static void put_number(struct strbuf *to, const char *key, uint64_t value)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, value);
	put_record(to, key, text);
}

/* star's form, which OCI layers have, too. */
void tar_write_xattr(struct strbuf *records, const char *name, const void *value, size_t len)
{
	AUTO_DONE(strbuf) key = { 0 };
	strbuf_addf(&key, "SCHILY.xattr.%s", name);
	if (key.failed)
		records->failed = true;
	else
		put_bytes(records, key.data, value, len);
}

static void add_block(struct strbuf *to, char h[TAR_BLOCK])
{
	unsigned sum = 0;
	memset(h + CHECKSUM, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char)h[i];
	snprintf(h + CHECKSUM, 8, "%06o", sum); /* digits, NUL, and the space that is there */
	strbuf_add(to, h, TAR_BLOCK);
}

static void fill_block(char h[TAR_BLOCK], char type, const char *name, const char *link,
		       mode_t mode, uint64_t size, int64_t mtime)
{
	static const char magic[] = { 'u', 's', 't', 'a', 'r', '\0', '0', '0' };

	memset(h, 0, TAR_BLOCK);
	strncpy(h + NAME, name, NAME_SIZE); /* a full field has no NUL */
	put_octal(h + MODE, 8, mode & 07777);
	put_octal(h + UID, 8, 0);
	put_octal(h + GID, 8, 0);
	put_octal(h + SIZE, 12, size <= SIZE_OCTAL_MAX ? size : 0);
	put_octal(h + MTIME, 12, mtime >= 0 && mtime <= MTIME_OCTAL_MAX ? (uint64_t)mtime : 0);
	h[TYPE] = type;
	strncpy(h + LINK, link, LINK_SIZE); /* as above */
	memcpy(h + MAGIC, magic, sizeof(magic));
}

/* The owner, and a device's number.  An owner beyond the field is in the pax header. */
static void put_attributes(char h[TAR_BLOCK], const struct tar_entry *e)
{
	put_octal(h + UID, 8, e->uid <= ID_OCTAL_MAX ? e->uid : 0);
	put_octal(h + GID, 8, e->gid <= ID_OCTAL_MAX ? e->gid : 0);
	if (e->type == TAR_CHAR || e->type == TAR_BLOCK_DEVICE) {
		put_octal(h + MAJOR, 8, e->major & ID_OCTAL_MAX);
		put_octal(h + MINOR, 8, e->minor & ID_OCTAL_MAX);
	}
}

static size_t put_extents(char *to, const struct tar_map *map, size_t from, size_t n)
{
	n = map->n - from < n ? map->n - from : n;
	for (size_t i = 0; i < n; i++, to += 24) {
		put_size(to, map->v[from + i].at);
		put_size(to + 12, map->v[from + i].len);
	}
	return from + n;
}

/* A sparse file: its map begins in the header, and goes on in blocks of its own. */
static void put_sparse(struct strbuf *to, const struct tar_entry *e)
{
	static const char magic[] = { 'u', 's', 't', 'a', 'r', ' ', ' ', '\0' };
	const struct tar_map *map = e->map;
	char h[TAR_BLOCK];

	fill_block(h, 'S', e->path, "", e->mode, 0, e->mtime_s);
	put_attributes(h, e);
	memcpy(h + MAGIC, magic, sizeof(magic));
	put_size(h + SIZE, map->stored);
	put_size(h + REAL_SIZE, e->size);
	size_t done = put_extents(h + EXTENTS, map, 0, EXTENTS_IN_HEADER);
	h[EXTENDED] = done < map->n;
	add_block(to, h);
	while (done < map->n) {
		memset(h, 0, sizeof(h));
		done = put_extents(h, map, done, EXTENTS_IN_BLOCK);
		h[BLOCK_EXTENDED] = done < map->n;
		strbuf_add(to, h, sizeof(h));
	}
}

/* A number of seconds, of which tv_nsec counts forward from tv_sec, also before 1970. */
static void put_time(struct strbuf *to, int64_t s, uint32_t ns)
{
	char text[48];
	const char *sign = s < 0 ? "-" : "";
	uint64_t whole = s < 0 ? -(uint64_t)s : (uint64_t)s;
	if (s < 0 && ns > 0) {
		whole--;
		ns = 1000000000 - ns;
	}
	snprintf(text, sizeof(text), "%s%" PRIu64 ".%09u", sign, whole, ns);
	put_record(to, "mtime", text);
}

void tar_write_padding(struct strbuf *to, uint64_t size)
{
	static const char zeros[TAR_BLOCK];
	strbuf_add(to, zeros, (size_t)(-size % TAR_BLOCK));
}

void tar_write_header(struct strbuf *to, const struct tar_entry *e)
{
	static const char types[] = {
		[TAR_FILE] = '0',     [TAR_FOLDER] = '5', [TAR_SYMLINK] = '2',
		[TAR_HARDLINK] = '1', [TAR_CHAR] = '3',	  [TAR_BLOCK_DEVICE] = '4',
		[TAR_PIPE] = '6',
	};
	AUTO_DONE(strbuf) extra = { 0 };
	char h[TAR_BLOCK];

	if (strlen(e->path) > NAME_SIZE)
		put_record(&extra, "path", e->path);
	if (strlen(e->target) > LINK_SIZE)
		put_record(&extra, "linkpath", e->target);
	if (e->size > SIZE_OCTAL_MAX && !e->map)
		put_number(&extra, "size", e->size);
	if (e->uid > ID_OCTAL_MAX)
		put_number(&extra, "uid", e->uid);
	if (e->gid > ID_OCTAL_MAX)
		put_number(&extra, "gid", e->gid);
	if (e->mtime_ns || e->mtime_s < 0 || e->mtime_s > MTIME_OCTAL_MAX)
		put_time(&extra, e->mtime_s, e->mtime_ns);
	if (e->xattrs)
		strbuf_add(&extra, e->xattrs->data, e->xattrs->len);
	if (extra.len) {
		fill_block(h, 'x', "pax", "", 0644, extra.len, 0);
		add_block(to, h);
		strbuf_add(to, extra.data, extra.len);
		tar_write_padding(to, extra.len);
	}
	to->failed |= extra.failed;
	if (e->map) {
		put_sparse(to, e);
		return;
	}
	fill_block(h, types[e->type], e->path, e->target, e->mode, e->size, e->mtime_s);
	put_attributes(h, e);
	add_block(to, h);
}

void tar_write_end(struct strbuf *to)
{
	static const char zeros[2 * TAR_BLOCK];
	strbuf_add(to, zeros, sizeof(zeros));
}
