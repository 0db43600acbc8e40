/* SPDX-License-Identifier: Apache-2.0 */
#include "image/unpack.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "image/unlzma.h"
#include "image/unzstd.h"

#define TOTAL_MAX (UINT64_C(64) << 30)
#define ALWAYS_OK (UINT64_C(1) << 30)
#define RATIO_MAX 256u

void unpack_close(struct archive *a)
{
	if (a)
		archive_read_free(a); /* nothing was written */
}

static const struct compression {
	int filter;
	const uint8_t magic[6];
	size_t len;
} compressions[] = {
	{ ARCHIVE_FILTER_GZIP, { 0x1f, 0x8b }, 2 },
	{ ARCHIVE_FILTER_BZIP2, { 'B', 'Z', 'h' }, 3 },
	{ ARCHIVE_FILTER_XZ, { 0xfd, '7', 'z', 'X', 'Z', 0 }, 6 },
	{ ARCHIVE_FILTER_LZMA, { 0x5d, 0, 0 }, 3 },
	{ ARCHIVE_FILTER_ZSTD, { 0x28, 0xb5, 0x2f, 0xfd }, 4 },
	{ ARCHIVE_FILTER_LZ4, { 0x04, 0x22, 0x4d, 0x18 }, 4 },
	{ ARCHIVE_FILTER_LZ4, { 0x02, 0x21, 0x4c, 0x18 }, 4 }, /* legacy: kernels */
};

/* A frame that zstd skips, as zstd:chunked has them. */
static bool is_zstd_skippable(const uint8_t *head, size_t len)
{
	return len >= 4 && (head[0] & 0xf0) == 0x50 && memcmp(head + 1, "\x2a\x4d\x18", 3) == 0;
}

/* A tar begins with a file's name, which may be "]" or "BZhang".  The checksum in its header is the
 * sum of the header's bytes, with spaces in place of the checksum. */
static bool is_tar(const uint8_t *head, size_t len)
{
	enum { SUM_AT = 148, SUM_LEN = 8 };
	unsigned sum = SUM_LEN * ' ', given = 0;
	size_t i = SUM_AT;

	if (len < UNPACK_HEAD_BYTES)
		return false;
	while (i < SUM_AT + SUM_LEN && head[i] == ' ')
		i++;
	for (; i < SUM_AT + SUM_LEN && head[i] >= '0' && head[i] <= '7'; i++)
		given = given * 8 + (head[i] - '0');
	for (i = 0; i < UNPACK_HEAD_BYTES; i++)
		sum += i >= SUM_AT && i < SUM_AT + SUM_LEN ? 0 : head[i];
	return given == sum;
}

int unpack_filter(const void *head, size_t len, bool any)
{
	if (is_tar(head, len))
		return ARCHIVE_FILTER_NONE;
	if (is_zstd_skippable(head, len))
		return ARCHIVE_FILTER_ZSTD;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(compressions); i++) {
		const struct compression *c = &compressions[i];
		if (c->len > len || memcmp(head, c->magic, c->len) != 0)
			continue;
		if (any || c->filter == ARCHIVE_FILTER_GZIP || c->filter == ARCHIVE_FILTER_ZSTD)
			return c->filter;
	}
	return ARCHIVE_FILTER_NONE;
}

static int close_unlzma(struct archive *a, void *unlzma)
{
	(void)a;
	unlzma_free(unlzma);
	return ARCHIVE_OK;
}

static int close_unzstd(struct archive *a, void *unzstd)
{
	(void)a;
	unzstd_free(unzstd);
	return ARCHIVE_OK;
}

/* Open with our own decompressor, which `closer` frees.  NULL: memory ran out. */
static int open_with(struct archive *a, void *decompressor, archive_read_callback *read,
		     archive_close_callback *closer)
{
	if (!decompressor) {
		archive_set_error(a, ENOMEM, "out of memory");
		return ARCHIVE_FATAL;
	}
	archive_read_support_filter_none(a); /* fails without memory; then opening fails, too */
	return archive_read_open(a, decompressor, NULL, read, closer);
}

int unpack_open_archive(struct archive *a, int filter, archive_read_callback *read, void *arg)
{
	if (filter == ARCHIVE_FILTER_XZ || filter == ARCHIVE_FILTER_LZMA)
		return open_with(a, unlzma_new(filter == ARCHIVE_FILTER_XZ, read, arg), unlzma_read,
				 close_unlzma);
	if (filter == ARCHIVE_FILTER_ZSTD)
		return open_with(a, unzstd_new(read, arg), unzstd_read, close_unzstd);
	/* these only fail when memory runs out, and then opening fails, too */
	if (filter == ARCHIVE_FILTER_NONE)
		archive_read_support_filter_none(a);
	else
		archive_read_append_filter(a, filter);
	return archive_read_open(a, arg, NULL, read, NULL);
}

uint64_t unpack_limit(uint64_t packed_bytes)
{
	if (packed_bytes >= TOTAL_MAX / RATIO_MAX)
		return TOTAL_MAX;
	return packed_bytes * RATIO_MAX > ALWAYS_OK ? packed_bytes * RATIO_MAX : ALWAYS_OK;
}

int unpack_charge(struct unpack_budget *budget, uint64_t bytes, struct mvm_error *err)
{
	char limit[24];

	if (bytes <= budget->limit - budget->used) {
		budget->used += bytes;
		return 0;
	}
	str_bytes(budget->limit, limit, sizeof(limit));
	int r = mvm_error_set(err, -EFBIG, "the files unpack to more than %s", limit);
	return mvm_error_reason(err, r, budget->reason ? budget->reason : "image-too-large", NULL);
}

int unpack_failed(struct archive *a, const char *name, struct mvm_error *err)
{
	int code = archive_errno(a);
	const char *words = archive_error_string(a);

	if (code == ENOMEM)
		return mvm_error_oom(err);
	if (code == EFBIG) {
		int r = mvm_error_set(err, -code, "'%s' %s", name, words);
		return mvm_error_hint(
			err, r,
			"compress it again with a dictionary of at most 128 MiB: 'xz -9' and "
			"'zstd --ultra -22' use no more");
	}
	if (code == EIO || code == EISDIR || code == EBADF)
		return mvm_error_set(err, -code, "cannot read '%s': %s", name, strerror(code));
	return mvm_error_set(err, -EBADMSG, "'%s' is damaged: %s", name,
			     words ? words : "it ends too early");
}

int unpack_entry(struct archive *a, const char *name, size_t max, char **ret, size_t *ret_len,
		 struct mvm_error *err)
{
	AUTO_DONE(strbuf) out = { 0 };
	char chunk[32768];

	for (;;) {
		la_ssize_t n = archive_read_data(a, chunk, sizeof(chunk));
		if (n < 0)
			return unpack_failed(a, name, err);
		if (n == 0)
			break;
		if ((size_t)n > max - out.len)
			return mvm_error_set(err, -EFBIG, "'%s' is larger than %zu bytes", name,
					     max);
		strbuf_add(&out, chunk, (size_t)n);
	}
	*ret_len = out.len;
	*ret = out.failed ? NULL : strbuf_take(&out);
	return *ret ? 0 : mvm_error_oom(err);
}

/* Bytes in memory, for libarchive to read in one piece. */
struct buffer {
	const void *data;
	size_t len;
};

static la_ssize_t read_buffer(struct archive *a, void *arg, const void **ret)
{
	struct buffer *b = arg;
	size_t len = b->len;

	(void)a;
	b->len = 0;
	*ret = b->data;
	return (la_ssize_t)len;
}

int unpack_buf(const void *data, size_t len, const char *name, size_t max, char **ret,
	       size_t *ret_len, struct mvm_error *err)
{
	struct buffer in = { .data = data, .len = len };
	AUTO(archive) a = archive_read_new();
	struct archive_entry *e;

	if (!a)
		return mvm_error_oom(err);
	archive_read_support_format_raw(a); /* fails without memory; then opening fails, too */
	if (unpack_open_archive(a, unpack_filter(data, len, true), read_buffer, &in) !=
		    ARCHIVE_OK ||
	    archive_read_next_header(a, &e) != ARCHIVE_OK)
		return unpack_failed(a, name, err);
	return unpack_entry(a, name, max, ret, ret_len, err);
}
