/* SPDX-License-Identifier: Apache-2.0 */
#include "image/layer_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "codec/sha256.h"

#define READ_BLOCK 131072u
#define TAR_BLOCK  512u

struct layer_state {
	const struct layer_source *source;
	struct archive *raw; /* decompresses */
	struct archive *tar;
	uint64_t at;	   /* compressed bytes read */
	uint64_t unpacked; /* bytes given on */
	uint64_t max_bytes;
	bool ended; /* no more bytes to give on */
	struct sha256 sha;
	int failed; /* a negative errno, described in `error` */
	struct mvm_error error;
	uint8_t block[READ_BLOCK];
};

/* The next compressed bytes, as libarchive asks for them. */
static la_ssize_t read_source(struct archive *a, void *arg, const void **ret)
{
	struct layer_state *st = arg;
	const struct layer_source *source = st->source;
	uint64_t left = source->size - st->at;
	size_t want = left < sizeof(st->block) ? (size_t)left : sizeof(st->block);
	ssize_t n;

	*ret = st->block;
	if (want == 0)
		return 0;
	do
		n = pread(source->fd, st->block, want, (off_t)(source->offset + st->at));
	while (n < 0 && errno == EINTR);
	if (n <= 0) { /* it was longer when it was opened */
		int code = n < 0 ? errno : ENODATA;
		st->failed = mvm_error_set(&st->error, -code, "cannot read '%s': %s", source->name,
					   strerror(code));
		archive_set_error(a, code, "cannot be read");
		return -1;
	}
	st->at += (uint64_t)n;
	return n;
}

/* The next bytes of the tar.  Returns how many, 0 at the end, or a negative errno. */
static la_ssize_t next_unpacked(struct layer_state *st, const void **ret)
{
	la_int64_t offset;
	size_t len;

	if (st->failed)
		return st->failed;
	int r = archive_read_data_block(st->raw, ret, &len, &offset);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r < ARCHIVE_WARN && !st->failed)
		st->failed = unpack_failed(st->raw, st->source->name, &st->error);
	if (st->failed)
		return st->failed;
	if (len > st->max_bytes - st->unpacked)
		return st->failed = mvm_error_set(
			       &st->error, -EFBIG, "'%s': %llu bytes unpack to more than %llu",
			       st->source->name, (unsigned long long)st->source->size,
			       (unsigned long long)st->max_bytes);
	st->unpacked += len;
	sha256_add(&st->sha, *ret, len);
	return (la_ssize_t)len;
}

/*
 * The same as libarchive asks for it.  Some writers (umoci insert) leave out what ends a tar: the
 * rest of the last block and two blocks of zeros.  Since the digest says whether a layer is whole,
 * these are made up; the digest does not cover them.
 */
static la_ssize_t read_unpacked(struct archive *a, void *arg, const void **ret)
{
	static const char zeros[3 * TAR_BLOCK];
	struct layer_state *st = arg;

	la_ssize_t n = next_unpacked(st, ret);
	if (n < 0) {
		archive_set_error(a, (int)-n, "cannot be read");
		return -1;
	}
	if (n > 0 || st->ended)
		return n;
	st->ended = true;
	*ret = zeros;
	return (la_ssize_t)(sizeof(zeros) - st->unpacked % TAR_BLOCK);
}

static int open_raw(struct layer_state *st, struct mvm_error *err)
{
	struct archive_entry *e;

	st->raw = archive_read_new();
	if (!st->raw)
		return mvm_error_oom(err);
	/* these can only run out of memory, which shows on opening */
	(void)archive_read_support_filter_gzip(st->raw);
	(void)archive_read_support_filter_zstd(st->raw);
	(void)archive_read_support_format_raw(st->raw);
	if (archive_read_open(st->raw, st, NULL, read_source, NULL) == ARCHIVE_OK &&
	    archive_read_next_header(st->raw, &e) == ARCHIVE_OK)
		return 0;
	if (st->failed) {
		if (err)
			*err = st->error;
		return st->failed;
	}
	return unpack_failed(st->raw, st->source->name, err);
}

int layer_stream_open(struct layer_stream *s, const struct layer_source *source, uint64_t max_bytes,
		      struct mvm_error *err)
{
	struct layer_state *st = calloc(1, sizeof(*st));

	*s = (struct layer_stream){ .tar = { .name = source->name }, .state = st };
	if (!st)
		return mvm_error_oom(err);
	st->source = source;
	st->max_bytes = max_bytes;
	sha256_init(&st->sha);
	int r = open_raw(st, err);
	if (r < 0)
		return r;
	st->tar = archive_read_new();
	if (!st->tar)
		return mvm_error_oom(err);
	s->tar.a = st->tar;
	(void)archive_read_support_format_tar(st->tar); /* as above */
	if (archive_read_open(st->tar, st, NULL, read_unpacked, NULL) == ARCHIVE_OK)
		return 0;
	return layer_stream_error(s, unpack_failed(st->tar, source->name, err), err);
}

int layer_stream_error(const struct layer_stream *s, int r, struct mvm_error *err)
{
	if (r >= 0 || !s->state->failed)
		return r;
	if (err)
		*err = s->state->error;
	return s->state->failed;
}

int layer_stream_finish(struct layer_stream *s, struct mvm_error *err)
{
	struct layer_state *st = s->state;
	struct mvm_digest digest;
	const void *data;
	la_ssize_t n;

	do
		n = next_unpacked(st, &data);
	while (n > 0);
	if (n < 0)
		return layer_stream_error(s, (int)n, err);
	sha256_end(&st->sha, &digest);
	if (digest_equal(&digest, &st->source->diff_id))
		return 0;
	return mvm_error_set(err, -EBADMSG,
			     "'%s' is damaged: its contents are not those that the image's "
			     "configuration names",
			     st->source->name);
}

void layer_stream_free(struct layer_stream *s)
{
	if (s->state) {
		unpack_close(s->state->tar);
		unpack_close(s->state->raw);
	}
	free(s->state);
	*s = (struct layer_stream){ 0 };
}
