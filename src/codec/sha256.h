/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_SHA256_H
#define CODEC_SHA256_H

/*
 * SHA-256 of buffers and files.
 *
 *	struct sha256 h;
 *	sha256_init(&h);
 *	sha256_add(&h, data, len);
 *	sha256_end(&h, &digest);
 *
 * Source: FIPS 180-4.
 */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress_step;

/* Nettle's state.  Its header is not included here, because it defines these names as macros. */
struct sha256 {
	uint64_t state[16];
};

void sha256_init(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *data, size_t len);

/* Add n bytes that are all zero. */
void sha256_add_zeros(struct sha256 *h, uint64_t n);

/* Give the digest, and reset h as sha256_init() does. */
void sha256_end(struct sha256 *h, struct mvm_digest *ret);

void sha256_buf(const void *data, size_t len, struct mvm_digest *ret);

/*
 * Digest a whole file.
 *
 *   fd         read from the start to the end, except for holes; its offset is the same afterwards
 *   step       gets the progress, which goes on from the step's done_bytes; may be NULL.  The total
 *              is the step's, or grows to hold the file
 *   ret        the digest
 *   ret_bytes  size of the file as read; may be NULL
 *
 * Returns 0, the -errno of the read, or -ECANCELED from the step.  One pass, 64 KiB of memory.
 */
int sha256_fd(int fd, struct progress_step *step, struct mvm_digest *ret, uint64_t *ret_bytes);

/* Compute the digest of sha256_fd() in parts, for a caller that does other work between them: first
 * sha256_init(&p->h).  A call reads at most max_bytes.  Returns 0 with the digest, 1 if more is
 * left, or -errno. */
struct sha256_parts {
	struct sha256 h;
	uint64_t at;
};
int sha256_fd_some(struct sha256_parts *p, int fd, uint64_t max_bytes, struct mvm_digest *ret);

/*
 * Digest a file that is mostly holes, such as a disk, by its blocks of 4 KiB that are not all
 * zeros: each with its offset, then the file's size.  So the digest is the same however many zeros
 * are holes, and takes only as long as the data.  The rest as sha256_fd().
 */
int sha256_sparse_fd(int fd, struct progress_step *step, struct mvm_digest *ret);

/* Compute the digest of sha256_sparse_fd() in parts, for a caller that does other work between
 * them.  A call reads at most n pieces of the file: 64 KiB of data, or a hole.  Returns 0 with the
 * digest, 1 if pieces are left, or -errno. */
struct sha256_sparse {
	struct sha256 h;
	uint64_t at;
};
void sha256_sparse_begin(struct sha256_sparse *s);
int sha256_sparse_some(struct sha256_sparse *s, int fd, unsigned n, struct mvm_digest *ret);

#define DIGEST_HEX_SIZE 65

void digest_hex(const struct mvm_digest *d, char ret[DIGEST_HEX_SIZE]);

/* "sha256:" and the hex digits, as OCI documents and registries have it. */
#define DIGEST_TEXT_SIZE (DIGEST_HEX_SIZE + 7)
void digest_text(const struct mvm_digest *d, char ret[DIGEST_TEXT_SIZE]);

/* Exactly 64 lower-case hex digits.  Returns 0 or -EINVAL; ret is set only on success. */
int digest_parse(const char *s, struct mvm_digest *ret);

bool digest_equal(const struct mvm_digest *a, const struct mvm_digest *b);

#endif
