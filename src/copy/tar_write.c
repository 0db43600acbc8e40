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
};

#define SIZE_OCTAL_MAX	UINT64_C(077777777777)
#define MTIME_OCTAL_MAX INT64_C(077777777777)

static void put_octal(char *at, int width, uint64_t value)
{
	char text[24];
	snprintf(text, sizeof(text), "%0*" PRIo64, width - 1, value);
	memcpy(at, text, (size_t)width); /* with its NUL */
}

/* "length key=value\n", where length counts its own digits. */
static void put_record(struct strbuf *to, const char *key, const char *value)
{
	size_t rest = strlen(key) + strlen(value) + 3, len = rest + 1;
	char digits[24];

	while ((size_t)snprintf(digits, sizeof(digits), "%zu", len) + rest != len)
		len++;
	strbuf_addf(to, "%zu %s=", len, key);
	strbuf_adds(to, value);
	strbuf_adds(to, "\n");
}

static void put_block(struct strbuf *to, char type, const char *name, const char *link, mode_t mode,
		      uint64_t size, int64_t mtime)
{
	static const char magic[] = { 'u', 's', 't', 'a', 'r', '\0', '0', '0' };
	char h[TAR_BLOCK] = { 0 };
	unsigned sum = 0;

	strncpy(h + NAME, name, NAME_SIZE); /* a full field has no NUL */
	put_octal(h + MODE, 8, mode & 07777);
	put_octal(h + UID, 8, 0);
	put_octal(h + GID, 8, 0);
	put_octal(h + SIZE, 12, size <= SIZE_OCTAL_MAX ? size : 0);
	put_octal(h + MTIME, 12, mtime >= 0 && mtime <= MTIME_OCTAL_MAX ? (uint64_t)mtime : 0);
	h[TYPE] = type;
	strncpy(h + LINK, link, LINK_SIZE); /* as above */
	memcpy(h + MAGIC, magic, sizeof(magic));
	memset(h + CHECKSUM, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char)h[i];
	snprintf(h + CHECKSUM, 8, "%06o", sum); /* digits, NUL, and the space that is there */
	strbuf_add(to, h, sizeof(h));
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
		[TAR_FILE] = '0', [TAR_FOLDER] = '5', [TAR_SYMLINK] = '2', [TAR_HARDLINK] = '1'
	};
	AUTO_DONE(strbuf) extra = { 0 };
	char text[48];

	if (strlen(e->path) > NAME_SIZE)
		put_record(&extra, "path", e->path);
	if (strlen(e->target) > LINK_SIZE)
		put_record(&extra, "linkpath", e->target);
	if (e->size > SIZE_OCTAL_MAX) {
		snprintf(text, sizeof(text), "%" PRIu64, e->size);
		put_record(&extra, "size", text);
	}
	if (e->mtime_ns || e->mtime_s < 0 || e->mtime_s > MTIME_OCTAL_MAX)
		put_time(&extra, e->mtime_s, e->mtime_ns);
	if (extra.len) {
		put_block(to, 'x', "pax", "", 0644, extra.len, 0);
		strbuf_add(to, extra.data, extra.len);
		tar_write_padding(to, extra.len);
	}
	to->failed |= extra.failed;
	put_block(to, types[e->type], e->path, e->target, e->mode, e->size, e->mtime_s);
}

void tar_write_end(struct strbuf *to)
{
	static const char zeros[2 * TAR_BLOCK];
	strbuf_add(to, zeros, sizeof(zeros));
}
