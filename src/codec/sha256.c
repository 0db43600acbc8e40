/* SPDX-License-Identifier: Apache-2.0 */
#include <nettle/sha2.h>
#undef sha256_init /* nettle's prefix for its own function */

#include "codec/sha256.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/str.h"

#define BLOCK  4096u
#define PIECES 16u /* between two reports of the progress */

_Static_assert(sizeof(((struct mvm_digest *)0)->bytes) == SHA256_DIGEST_SIZE, "digest size");
_Static_assert(sizeof(struct sha256) >= sizeof(struct sha256_ctx), "room for nettle's state");

static struct sha256_ctx *ctx(struct sha256 *h)
{
	/* cppcheck-suppress ctuuninitvar ; only the address is taken, sha256_init() fills it */
	return (struct sha256_ctx *)h->state;
}

void sha256_init(struct sha256 *h)
{
	nettle_sha256_init(ctx(h));
}

void sha256_add(struct sha256 *h, const void *data, size_t len)
{
	sha256_update(ctx(h), len, data);
}

void sha256_add_zeros(struct sha256 *h, uint64_t n)
{
	static const char zeros[65536];
	for (; n > sizeof(zeros); n -= sizeof(zeros))
		sha256_add(h, zeros, sizeof(zeros));
	sha256_add(h, zeros, (size_t)n);
}

void sha256_end(struct sha256 *h, struct mvm_digest *ret)
{
	sha256_digest(ctx(h), SHA256_DIGEST_SIZE, ret->bytes);
}

void sha256_buf(const void *data, size_t len, struct mvm_digest *ret)
{
	struct sha256 h;
	sha256_init(&h);
	sha256_add(&h, data, len);
	sha256_end(&h, ret);
}

/*
 * Find out what the file has at an offset, so that a hole is not read: reading costs more than
 * hashing.
 *
 *   size      of the file
 *   ret_hole  there is a hole; false: data, or the file system does not tell
 *
 * Returns the offset of its end.
 */
static uint64_t end_of_part(int fd, uint64_t at, uint64_t size, bool *ret_hole)
{
	off_t end = lseek(fd, (off_t)at, SEEK_DATA);
	*ret_hole = at < size && ((end < 0 && errno == ENXIO) || end > (off_t)at);
	if (*ret_hole)
		return end < 0 ? size : (uint64_t)end;
	end = lseek(fd, (off_t)at, SEEK_HOLE);
	return end > (off_t)at ? (uint64_t)end : UINT64_MAX;
}

static int digest(int fd, struct progress_step *step, struct mvm_digest *ret, uint64_t *ret_bytes)
{
	static const char zeros[65536];
	char chunk[65536];
	struct stat st = { 0 };
	uint64_t at = 0, before = 0, total = 0, part_end = 0;
	bool hole = false;
	struct sha256 h;

	fstat(fd, &st); /* for holes and the progress bar; without it there are none */
	if (step) {
		before = step->done_bytes;
		total = before + (uint64_t)st.st_size;
		total = total > step->total_bytes ? total : step->total_bytes;
	}

	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* only a hint */
	sha256_init(&h);
	for (;;) {
		if (at >= part_end)
			part_end = end_of_part(fd, at, (uint64_t)st.st_size, &hole);
		ssize_t n = sizeof(zeros);
		if (!hole)
			n = pread(fd, chunk, sizeof(chunk), (off_t)at);
		else if (part_end - at < sizeof(zeros))
			n = (ssize_t)(part_end - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		sha256_add(&h, hole ? zeros : chunk, (size_t)n);
		at += (uint64_t)n;
		int r = progress_bytes(step, before + at, total, NULL);
		if (r < 0)
			return r;
	}
	sha256_end(&h, ret);
	if (ret_bytes)
		*ret_bytes = at;
	return 0;
}

int sha256_fd(int fd, struct progress_step *step, struct mvm_digest *ret, uint64_t *ret_bytes)
{
	off_t offset = lseek(fd, 0, SEEK_CUR);
	int r = digest(fd, step, ret, ret_bytes);
	if (offset >= 0)
		lseek(fd, offset, SEEK_SET); /* SEEK_DATA has moved it */
	return r;
}

int sha256_fd_some(struct sha256_parts *p, int fd, uint64_t max_bytes, struct mvm_digest *ret)
{
	char chunk[65536];
	for (uint64_t done = 0; done < max_bytes;) {
		ssize_t n = file_read_range(fd, chunk, sizeof(chunk), p->at);
		if (n < 0)
			return (int)n;
		if (n == 0) {
			sha256_end(&p->h, ret);
			return 0;
		}
		sha256_add(&p->h, chunk, (size_t)n);
		p->at += (uint64_t)n;
		done += (uint64_t)n;
	}
	return 1;
}

static void add_number(struct sha256 *h, uint64_t n)
{
	uint64_t le = htole64(n);
	sha256_add(h, &le, sizeof(le));
}

static void add_blocks(struct sha256 *h, const char *data, size_t len, uint64_t at)
{
	for (size_t i = 0; i < len; i += BLOCK) {
		size_t n = len - i < BLOCK ? len - i : BLOCK;
		if (mem_is_zero(data + i, n))
			continue;
		add_number(h, at + i);
		sha256_add(h, data + i, n);
	}
}

void sha256_sparse_begin(struct sha256_sparse *s)
{
	sha256_init(&s->h);
	s->at = 0;
}

int sha256_sparse_some(struct sha256_sparse *s, int fd, unsigned n, struct mvm_digest *ret)
{
	char chunk[16 * BLOCK];
	uint64_t part_end = 0;
	bool hole = false;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	uint64_t size = (uint64_t)st.st_size;
	for (; s->at < size; n--) {
		if (n == 0)
			return 1;
		if (s->at >= part_end)
			part_end = end_of_part(fd, s->at, size, &hole);
		if (hole && part_end - s->at >= BLOCK) {
			s->at = part_end < size ? part_end / BLOCK * BLOCK : size;
			continue;
		}
		hole = false;
		ssize_t len = file_read_range(fd, chunk, sizeof(chunk), s->at);
		if (len <= 0)
			return len < 0 ? (int)len : -EIO; /* it became shorter */
		add_blocks(&s->h, chunk, (size_t)len, s->at);
		s->at += (uint64_t)len;
	}
	add_number(&s->h, size);
	sha256_end(&s->h, ret);
	return 0;
}

static int digest_sparse(int fd, struct progress_step *step, struct mvm_digest *ret)
{
	struct sha256_sparse s;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	sha256_sparse_begin(&s);
	while ((r = sha256_sparse_some(&s, fd, PIECES, ret)) > 0) {
		r = progress_bytes(step, s.at, (uint64_t)st.st_size, NULL);
		if (r < 0)
			return r;
	}
	return r;
}

int sha256_sparse_fd(int fd, struct progress_step *step, struct mvm_digest *ret)
{
	off_t offset = lseek(fd, 0, SEEK_CUR);
	int r = digest_sparse(fd, step, ret);
	if (offset >= 0)
		lseek(fd, offset, SEEK_SET); /* SEEK_DATA has moved it */
	return r;
}

void digest_hex(const struct mvm_digest *d, char ret[DIGEST_HEX_SIZE])
{
	str_hex(d->bytes, sizeof(d->bytes), ret);
}

void digest_text(const struct mvm_digest *d, char ret[DIGEST_TEXT_SIZE])
{
	digest_hex(d, stpcpy(ret, "sha256:"));
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int digest_parse(const char *s, struct mvm_digest *ret)
{
	struct mvm_digest d;

	if (strnlen(s, DIGEST_HEX_SIZE) != DIGEST_HEX_SIZE - 1)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(d.bytes); i++) {
		int high = hex_value(s[2 * i]), low = hex_value(s[2 * i + 1]);
		if (high < 0 || low < 0)
			return -EINVAL;
		d.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret = d;
	return 0;
}

bool digest_equal(const struct mvm_digest *a, const struct mvm_digest *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}
