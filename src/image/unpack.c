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

void unpack_allow_filters(struct archive *a)
{
	/* these warn when the library must start a program for a format; then opening fails later
	 */
	(void)archive_read_support_filter_none(a);
	(void)archive_read_support_filter_gzip(a);
	(void)archive_read_support_filter_bzip2(a);
	(void)archive_read_support_filter_xz(a);
	(void)archive_read_support_filter_lzma(a);
	(void)archive_read_support_filter_zstd(a);
	(void)archive_read_support_filter_lz4(a);
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
	unpack_allow_filters(a);
	(void)archive_read_support_format_raw(a); /* can only run out of memory, seen on opening */
	if (archive_read_open_memory(a, data, len) != ARCHIVE_OK ||
	    archive_read_next_header(a, &e) != ARCHIVE_OK)
		return unpack_failed(a, name, err);
	return unpack_entry(a, name, max, ret, ret_len, err);
}
