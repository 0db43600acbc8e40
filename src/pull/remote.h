/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PULL_REMOTE_H
#define PULL_REMOTE_H

/* Looks at a repository: its tags, its manifests, and the lists of what refers to a manifest.
 * Stores nothing. */

#include "artifact/variants.h"
#include "base/str.h"
#include "pull/session.h"

#define REMOTE_TAGS_MAX 10000u

/* The tags of the session's repository, sorted, without those of lists of signatures.  -ENOENT: no
 * such repository; -EFBIG: too many. */
int remote_tags(struct session *s, const char *name, struct strv *ret, struct mvm_error *err);

/* Add a page's tags, as a registry sends it.  Returns how many it has, or -errno. */
ssize_t remote_add_tags(const char *text, size_t len, const char *name, struct strv *ret,
			struct mvm_error *err);

/* Fetch a small blob, and compare it with its digest.  what: for messages.  ret: NUL-terminated,
 * the caller's.  -EFBIG: it is larger than OCI_JSON_MAX. */
int remote_blob(struct session *s, const struct index_part *blob, const char *what, char **ret,
		size_t *ret_len, struct mvm_error *err);

/* A manifest, as far as it tells about an artifact or image. */
struct remote_about {
	char *text; /* its bytes, NUL-terminated ... */
	size_t len;
	struct mvm_digest digest; /* ... and their digest */
	uint64_t bytes;		  /* of its blobs; 0 for an index */
	char *created;		  /* as its annotation says; NULL: unknown */
	bool is_template, has_snapshot;
	struct variants variants; /* n 0: it is no index of them */
};
void remote_about_done(struct remote_about *a);
DEFINE_AUTO_DONE(remote_about, remote_about_done)

/* Look at a manifest whose text is there.  reference: for messages. */
int remote_about_read(struct remote_about *about, const char *reference, struct mvm_error *err);

/* Fetch a manifest and look at it.  reference: a tag or digest.  -ENOENT and others. */
int remote_look(struct session *s, const char *reference, struct remote_about *ret,
		struct mvm_error *err);

/*
 * Lists of the manifests that refer to a manifest: those of the registry's API, and the one under
 * the tag that stands in for the API.  Nobody has checked the texts.
 */
#define REMOTE_LISTS_MAX 5u
struct remote_list {
	char *text;
	size_t len;
	bool is_tagged; /* it is the one under the tag */
};

struct remote_lists {
	struct remote_list v[REMOTE_LISTS_MAX];
	size_t n;
};
void remote_lists_done(struct remote_lists *l);
DEFINE_AUTO_DONE(remote_lists, remote_lists_done)

/* Success also without any list.  Errors are those of asking for the tag. */
int remote_referrers(struct session *s, const struct mvm_digest *subject, struct remote_lists *ret,
		     struct mvm_error *err);

#endif
