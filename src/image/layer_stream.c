/* SPDX-License-Identifier: Apache-2.0 */
#include "image/layer_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/str.h"
#include "codec/sha256.h"

#define READ_BLOCK 131072u
#define TAR_BLOCK  512u
#define HEADER_MAX (UINT64_C(16) << 20) /* libarchive keeps its map of holes in memory */

struct layer_state {
	const struct layer_source *source;
	struct archive *raw; /* the decompressor; NULL: the tar is not compressed */
	struct archive *tar;
	uint64_t at;	   /* bytes read from the source */
	uint64_t unpacked; /* bytes of the tar given to libarchive */
	struct unpack_budget *budget;
	bool in_header;	       /* reading between the contents of two entries */
	uint64_t header_start; /* of `unpacked` */
	bool ended;	       /* libarchive has got the made-up end */
	struct sha256 sha;
	int failed; /* a negative errno, described in `error` */
	struct mvm_error error;
	uint8_t block[READ_BLOCK];
};

/* Read the next bytes of the source.  Returns their number, 0 at the end, or -errno. */
static la_ssize_t read_block(struct layer_state *st, const void **ret)
{
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
	if (n <= 0) { /* 0: the file has become shorter since mvm opened it */
		int code = n < 0 ? errno : ENODATA;
		return st->failed = mvm_error_set(&st->error, -code, "cannot read '%s': %s",
						  source->name, strerror(code));
	}
	st->at += (uint64_t)n;
	return n;
}

/* read_block() as a callback of libarchive. */
static la_ssize_t read_source(struct archive *a, void *arg, const void **ret)
{
	la_ssize_t n = read_block(arg, ret);
	if (n >= 0)
		return n;
	archive_set_error(a, (int)-n, "cannot be read");
	return -1;
}

static la_ssize_t decompress(struct layer_state *st, const void **ret)
{
	la_int64_t offset;
	size_t len;

	int r = archive_read_data_block(st->raw, ret, &len, &offset);
	if (r == ARCHIVE_EOF)
		return 0;
	if (!unpack_went_well(r) && !st->failed)
		st->failed = unpack_failed(st->raw, st->source->name, &st->error);
	return st->failed ? st->failed : (la_ssize_t)len;
}

static int charge(struct layer_state *st, uint64_t bytes)
{
	st->unpacked += bytes;
	st->failed = unpack_charge(st->budget, bytes, &st->error);
	if (st->failed)
		return mvm_error_context(&st->error, st->failed, "'%s'", st->source->name);
	if (st->in_header && st->unpacked - st->header_start > HEADER_MAX)
		st->failed = mvm_error_set(&st->error, -EFBIG,
					   "'%s': an entry has a header of more than 16 MiB",
					   st->source->name);
	return st->failed;
}

/* Get the next bytes of the tar.  Returns their number, 0 at the end, or -errno. */
static la_ssize_t next_unpacked(struct layer_state *st, const void **ret)
{
	if (st->failed)
		return st->failed;
	la_ssize_t n = st->raw ? decompress(st, ret) : read_block(st, ret);
	if (n <= 0)
		return n;
	if (charge(st, (uint64_t)n) < 0)
		return st->failed;
	if (!st->source->alone)
		sha256_add(&st->sha, *ret, (size_t)n);
	return n;
}

/* Skip bytes of a plain tar that has no digest to check.  libarchive reads what is not skipped. */
static la_int64_t skip_plain(struct archive *a, void *arg, la_int64_t want)
{
	struct layer_state *st = arg;
	uint64_t left = st->source->size - st->at;
	uint64_t n = want < 0 ? 0 : (uint64_t)want;

	if (n > left)
		n = left;
	if (st->failed || charge(st, n) < 0) {
		archive_set_error(a, -st->failed, "cannot be read");
		return ARCHIVE_FATAL;
	}
	st->at += n;
	return (la_int64_t)n;
}

/*
 * next_unpacked() as a callback of libarchive.  Some writers (umoci insert) leave out the end of a
 * tar: the rest of the last block and two blocks of zeros.  This function adds that end.  The
 * layer's digest, which does not cover the added bytes, tells whether the layer is complete.
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
	if (n > 0 || st->ended || st->source->alone)
		return n;
	st->ended = true;
	*ret = zeros;
	return (la_ssize_t)(sizeof(zeros) - st->unpacked % TAR_BLOCK);
}

/* Report the true cause of a failure: an error below libarchive, if there was one. */
static int cause(const struct layer_state *st, int r, struct mvm_error *err)
{
	if (r >= 0 || !st->failed)
		return r;
	if (err)
		*err = st->error;
	return st->failed;
}

/*
 * libarchive has found no bytes in a gzip file.  Is the file the compressed form of nothing?
 *
 * libarchive's filter also ends without an error if the header is truncated or invalid, or if the
 * trailer is missing.  The trailer of an empty file, checksum and length, is eight zeros, and the
 * compressed data before it do not end in zeros.  Source: RFC 1952, 2.3.1.
 */
static bool has_gzip_trailer(const struct layer_state *st)
{
	char trailer[8];
	la_int64_t used = archive_filter_bytes(st->raw, -1);
	return used > (la_int64_t)sizeof(trailer) &&
	       pread(st->source->fd, trailer, sizeof(trailer),
		     (off_t)st->source->offset + used - (off_t)sizeof(trailer)) ==
		       (ssize_t)sizeof(trailer) &&
	       mem_is_zero(trailer, sizeof(trailer));
}

/* Find out how the source is compressed, and open its decompressor. */
static int open_raw(struct layer_state *st, struct mvm_error *err)
{
	struct archive_entry *e;

	if (st->source->size == 0 || st->source->whole)
		return 0;
	uint8_t head[UNPACK_HEAD_BYTES];
	ssize_t n = pread(st->source->fd, head, sizeof(head), (off_t)st->source->offset);
	if (n < 0)
		return mvm_error_set(err, -errno, "cannot read '%s': %s", st->source->name,
				     strerror(errno));
	if ((uint64_t)n > st->source->size)
		n = (ssize_t)st->source->size;
	int filter = unpack_filter(head, (size_t)n, st->source->alone);
	if (filter == ARCHIVE_FILTER_NONE)
		return 0;
	st->raw = archive_read_new();
	if (!st->raw)
		return mvm_error_oom(err);
	/* these only fail when memory runs out, and then opening fails, too */
	archive_read_support_format_raw(st->raw);
	archive_read_support_format_empty(st->raw); /* the compressed form of nothing */
	int r = unpack_open_archive(st->raw, filter, read_source, st);
	/* a filter that fails at its first read sets an error and opens as an empty archive */
	if (r == ARCHIVE_OK && archive_errno(st->raw) == 0)
		r = archive_read_next_header(st->raw, &e);
	else
		r = ARCHIVE_FATAL;
	if (r == ARCHIVE_EOF && !st->failed &&
	    (filter != ARCHIVE_FILTER_GZIP || has_gzip_trailer(st))) {
		unpack_close(TAKE_PTR(st->raw));
		st->at = st->source->size; /* the tar is empty */
		return 0;
	}
	return r == ARCHIVE_OK ? 0 : cause(st, unpack_failed(st->raw, st->source->name, err), err);
}

int layer_stream_open(struct layer_stream *s, const struct layer_source *source,
		      struct unpack_budget *budget, struct mvm_error *err)
{
	struct layer_state *st = calloc(1, sizeof(*st));

	*s = (struct layer_stream){ .tar = { .name = source->name }, .state = st };
	if (!st)
		return mvm_error_oom(err);
	st->source = source;
	st->budget = budget;
	st->in_header = true;
	sha256_init(&st->sha);
	int r = open_raw(st, err);
	if (r < 0)
		return r;
	st->tar = archive_read_new();
	if (!st->tar)
		return mvm_error_oom(err);
	s->tar.a = st->tar;
	archive_read_support_format_tar(st->tar); /* fails as those in open_raw() */
	r = archive_read_open2(st->tar, st, NULL, read_unpacked,
			       source->alone && !st->raw ? skip_plain : NULL, NULL);
	return r == ARCHIVE_OK ? 0 : cause(st, unpack_failed(st->tar, source->name, err), err);
}

int layer_stream_next(struct layer_stream *s, struct archive_entry **ret, struct mvm_error *err)
{
	struct layer_state *st = s->state;

	if (s->tar.entry > 0 && !unpack_went_well(archive_read_data_skip(st->tar)))
		return cause(st, unpack_failed(st->tar, s->tar.name, err), err);
	la_int64_t before = archive_filter_bytes(st->tar, 0);
	st->in_header = true;
	st->header_start = st->unpacked;
	int r = archive_read_next_header(st->tar, ret);
	st->in_header = false;
	if (r == ARCHIVE_EOF) {
		/* an archive ends with blocks of zeros; libarchive would accept one without them */
		if (s->tar.entry > 0 && archive_filter_bytes(st->tar, 0) == before)
			return mvm_error_set(err, -EBADMSG, "'%s' is damaged: it ends too early",
					     s->tar.name);
		return 0;
	}
	if (!unpack_went_well(r))
		return cause(st, unpack_failed(st->tar, s->tar.name, err), err);
	s->tar.entry++;
	return 1;
}

int layer_stream_error(const struct layer_stream *s, int r, struct mvm_error *err)
{
	return cause(s->state, r, err);
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
		return cause(st, (int)n, err);
	sha256_end(&st->sha, &digest);
	if (st->source->alone || digest_equal(&digest, &st->source->diff_id))
		return 0;
	return mvm_error_set(err, -EBADMSG,
			     "'%s' is damaged: its digest differs from the image's configuration",
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
