/* SPDX-License-Identifier: Apache-2.0 */
/* A tar stream of a copy, as a guest or a user may send it, arriving in pieces: the first byte of
 * the input is their size. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "copy/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint64_t left, size, end;
	unsigned entries;
};

static int on_entry(void *arg, const struct tar_entry *e, struct mvm_error *err)
{
	struct seen *s = arg;
	(void)err;
	assert(s->left == 0); /* the contents before it are complete */
	assert(strlen(e->path) <= TAR_PATH_MAX && strlen(e->target) <= TAR_PATH_MAX);
	assert(e->mtime_ns < 1000000000 && e->mode <= 07777);
	assert(tar_stored_bytes(e) <= e->size);
	s->left = tar_stored_bytes(e);
	s->size = e->size;
	s->end = 0;
	s->entries++;
	return 0;
}

static int on_data(void *arg, uint64_t at, const void *data, size_t len, struct mvm_error *err)
{
	struct seen *s = arg;
	(void)data;
	(void)err;
	assert(len > 0 && len <= s->left);
	assert(at >= s->end && at <= s->size &&
	       len <= s->size - at); /* no byte twice, none beyond the size */
	s->end = at + len;
	s->left -= len;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = { 0 };
	struct mvm_error err = { 0 };
	AUTO_DONE(tar_reader) r = { .sink = { on_entry, on_data, &seen } };
	size_t piece = size ? data[0] * 4u + 1u : 1;
	int result = 0;

	for (size_t at = 1; at < size && result == 0; at += piece)
		result = tar_read(&r, data + at, size - at < piece ? size - at : piece, &err);
	if (result == 0)
		result = tar_read_end(&r, &err);
	assert(result == 0 || err.code == result);
	return 0;
}
