/* SPDX-License-Identifier: Apache-2.0 */
#include "image/unpack.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

#define TOTAL_MAX (UINT64_C(64) << 30)
#define ALWAYS_OK (UINT64_C(1) << 30)
#define RATIO_MAX 256u

void unpack_close(struct archive *a)
{
	if (a)
		(void)archive_read_free(a); /* nothing was written */
}

static const struct compression {
	int filter;
	const char *suffix;
	const uint8_t magic[UNPACK_HEAD_BYTES];
	size_t len;
} compressions[] = {
	{ ARCHIVE_FILTER_GZIP, ".gz", { 0x1f, 0x8b }, 2 },
	{ ARCHIVE_FILTER_BZIP2, ".bz2", { 'B', 'Z', 'h' }, 3 },
	{ ARCHIVE_FILTER_XZ, ".xz", { 0xfd, '7', 'z', 'X', 'Z', 0 }, 6 },
	{ ARCHIVE_FILTER_LZMA, ".lzma", { 0x5d, 0, 0 }, 3 },
	{ ARCHIVE_FILTER_ZSTD, ".zst", { 0x28, 0xb5, 0x2f, 0xfd }, 4 },
	{ ARCHIVE_FILTER_LZ4, ".lz4", { 0x04, 0x22, 0x4d, 0x18 }, 4 },
	{ ARCHIVE_FILTER_LZ4, ".lz4", { 0x02, 0x21, 0x4c, 0x18 }, 4 }, /* legacy: kernels */
};

/* These can only run out of memory, which shows on opening. */
static void use_filter(struct archive *a, const struct compression *c)
{
	if (c)
		(void)archive_read_append_filter(a, c->filter);
	else
		(void)archive_read_support_filter_none(a);
}

/* A frame that zstd skips, as zstd:chunked has them. */
static bool is_zstd_skippable(const uint8_t *head, size_t len)
{
	return len >= 4 && (head[0] & 0xf0) == 0x50 && memcmp(head + 1, "\x2a\x4d\x18", 3) == 0;
}

/* The magic of these is text that may as well be the first file's name in a plain tar. */
static bool is_sure(const struct compression *c, const uint8_t *head, size_t len)
{
	static const uint8_t block[] = { 0x31, 0x41, 0x59, 0x26, 0x53, 0x59 };
	static const uint8_t end[] = { 0x17, 0x72, 0x45, 0x38, 0x50, 0x90 };

	if (c->filter == ARCHIVE_FILTER_BZIP2)
		return len >= 10 && head[3] >= '1' && head[3] <= '9' &&
		       (memcmp(head + 4, block, sizeof(block)) == 0 ||
			memcmp(head + 4, end, sizeof(end)) == 0);
	if (c->filter == ARCHIVE_FILTER_LZMA) /* the dictionary is at least 64 KiB */
		return len >= 5 && (head[3] || head[4]);
	return true;
}

void unpack_use_filter(struct archive *a, const void *head, size_t len, bool any)
{
	const struct compression *found = NULL;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(compressions); i++) {
		const struct compression *c = &compressions[i];
		if ((c->len <= len && memcmp(head, c->magic, c->len) == 0 &&
		     is_sure(c, head, len)) ||
		    (c->filter == ARCHIVE_FILTER_ZSTD && is_zstd_skippable(head, len)))
			found = c;
	}
	if (found && !any && found->filter != ARCHIVE_FILTER_GZIP &&
	    found->filter != ARCHIVE_FILTER_ZSTD)
		found = NULL;
	use_filter(a, found);
}

void unpack_use_filter_of_name(struct archive *a, const char *name)
{
	const char *suffix = strrchr(name, '.');
	const struct compression *found = NULL;
	for (size_t i = 0; suffix && i < MVM_ARRAY_SIZE(compressions); i++) {
		if (str_eq(suffix, compressions[i].suffix))
			found = &compressions[i];
	}
	use_filter(a, found);
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
	return mvm_error_hint(err, r,
			      "if you trust the image, 'mvm template build ID --max-image-size "
			      "SIZE' allows more");
}

int unpack_failed(struct archive *a, const char *name, struct mvm_error *err)
{
	int code = archive_errno(a);
	const char *words = archive_error_string(a);

	if (code == ENOMEM)
		return mvm_error_oom(err);
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

int unpack_buf(const void *data, size_t len, const char *name, size_t max, char **ret,
	       size_t *ret_len, struct mvm_error *err)
{
	AUTO(archive) a = archive_read_new();
	struct archive_entry *e;

	if (!a)
		return mvm_error_oom(err);
	unpack_use_filter(a, data, len, true);
	(void)archive_read_support_format_raw(a); /* can only run out of memory, seen on opening */
	if (archive_read_open_memory(a, data, len) != ARCHIVE_OK ||
	    archive_read_next_header(a, &e) != ARCHIVE_OK)
		return unpack_failed(a, name, err);
	return unpack_entry(a, name, max, ret, ret_len, err);
}
