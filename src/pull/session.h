/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PULL_SESSION_H
#define PULL_SESSION_H

/*
 * One mvm-registry, which talks to one registry about one repository.  We do not trust it: we check
 * its answers like the registry's own, and hash all its bytes again.
 *
 * A stop kills it.  Bytes that it has written to the descriptors of blobs stay for the next pull.
 */

#include <mvm/digest.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/process.h"
#include "base/progress.h"
#include "model/image_ref.h"

#define SESSION_BLOBS_MAX 512u

struct session {
	struct process child;
	int sock;			     /* -1: not open */
	const struct mvm_progress *progress; /* may be NULL; borrowed */
};
#define SESSION_NONE                                                                               \
	{                                                                                          \
		.sock = -1                                                                         \
	}
void session_done(struct session *s);
DEFINE_AUTO_DONE(session, session_done)

/*
 * Start mvm-registry for a repository.
 *
 *   data_dir  where the settings are (pull/settings.h)
 *   host      of the registry or of its mirror
 *   path      of the repository
 *   push      ask for the right to push, which the user may not have
 *   progress  borrowed for the session's life
 */
int session_open(const char *data_dir, const char *host, const char *path, bool push,
		 const struct mvm_progress *progress, struct session *ret, struct mvm_error *err);

/* session_open() with any rights, and for a user whom no file names yet.  who: NULL: the files'. */
enum session_rights {
	SESSION_PUSH = 1u << 0,
	SESSION_DELETE = 1u << 1,
};
struct credentials;
int session_open_as(const char *data_dir, const char *host, const char *path, unsigned rights,
		    const struct credentials *who, const struct mvm_progress *progress,
		    struct session *ret, struct mvm_error *err);

/* Ask for the digest of a tag's manifest.  1 with it, 0 if the registry does not tell it, or
 * -errno: -ENOENT (no such tag), -EACCES, -EBUSY (too many requests), -EREMOTEIO, ... */
int session_head(struct session *s, const char *tag, struct mvm_digest *ret, struct mvm_error *err);

/* Fetch a manifest of at most OCI_JSON_MAX bytes.  reference: a tag, or "sha256:...", which its
 * bytes then match.  ret: NUL-terminated, the caller's. */
int session_get(struct session *s, const char *reference, char **ret, size_t *ret_len,
		struct mvm_error *err);

struct session_blob {
	struct mvm_digest digest;
	uint64_t size;
	int fd; /* for reading and writing; may hold the blob's first bytes */
	/* fetch only these bytes, to the offset `at` of fd, where others are overwritten.
	 * part_bytes 0: all of it */
	uint64_t part_from, part_bytes, at;
};

/* Fetch blobs into their descriptors, several at the same time.  n <= SESSION_BLOBS_MAX.
 * step: gets the progress in bytes of them all; may be NULL.  Parts of blobs are not compared with
 * anything.  -EOPNOTSUPP: the registry sends no parts. */
int session_blobs(struct session *s, const struct session_blob *blobs, size_t n,
		  struct progress_step *step, struct mvm_error *err);

/* session_blobs() in two halves, for who has other work meanwhile: begin, then one step whenever
 * the session's socket is readable.  1: all have come; 0: not yet; -errno. */
int session_blobs_begin(struct session *s, const struct session_blob *blobs, size_t n,
			struct mvm_error *err);
int session_blobs_step(struct session *s, struct mvm_error *err);

/* ---- push.c: of a session that may push ---- */

/* Does the repository have a blob?  1, 0 or -errno. */
int session_has(struct session *s, const struct mvm_digest *digest, struct mvm_error *err);

/* Put a blob or a manifest: all of fd, which has `bytes` bytes.  step: gets the progress of a blob;
 * may be NULL. */
int session_upload(struct session *s, const struct mvm_digest *digest, int fd, uint64_t bytes,
		   struct progress_step *step, struct mvm_error *err);
int session_put(struct session *s, const char *reference, const char *type, int fd, uint64_t bytes,
		struct mvm_error *err);

/* ---- api.c ---- */

/* Does the registry take the session's user?  Returns as login_check(). */
int session_check(struct session *s, struct mvm_error *err);

/*
 * Fetch one page of a list.
 *
 *   what      "tags/list?n=100", "referrers/sha256:...", or the *ret_next of the page before
 *   ret       the page, NUL-terminated, at most SESSION_PAGE_MAX bytes; the caller's
 *   ret_next  NULL: this is the last page; the caller's
 *
 * Returns 1, 0 (the registry has no such list) or -errno.
 */
#define SESSION_PAGE_MAX ((size_t)4 << 20)
int session_list(struct session *s, const char *what, char **ret, size_t *ret_len, char **ret_next,
		 struct mvm_error *err);

/* Delete a manifest.  -ENOENT; -EOPNOTSUPP (the registry deletes nothing), -EACCES, ... */
int session_delete(struct session *s, const struct mvm_digest *digest, struct mvm_error *err);

/* ---- of session.c, push.c and api.c alone ---- */

struct json_out;
struct json_t;

/* Send a message with a descriptor, unless that is -1, and wait for its answer.  Takes the object
 * over.  total: of step's bytes. */
int session_call(struct session *s, struct json_out *out, struct json_t *o, int fd,
		 struct progress_step *step, uint64_t total, struct json_t **ret,
		 struct mvm_error *err);

/* Ask for a document: session_call() with {key: name}.  ret: at most max bytes, NUL-terminated, the
 * caller's; ret_answer: as there. */
int session_fetch(struct session *s, const char *key, const char *name, size_t max, char **ret,
		  size_t *ret_len, struct json_t **ret_answer, struct mvm_error *err);

#endif
