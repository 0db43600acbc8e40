/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PULL_PULL_PRIV_H
#define PULL_PULL_PRIV_H

/* Internal to src/pull: pull.c asks for documents, blobs.c for layers. */

#include "codec/sha256.h"
#include "image/oci_manifest.h"
#include "model/image_ref.h"
#include "pull/pull.h"
#include "pull/session.h"
#include "store/turn.h"

#define PULL_BLOBS     "blobs/sha256"
#define PULL_BYTES_MAX (UINT64_C(64) << 30)

struct pull {
	struct store *store;
	const struct mvm_progress *progress;
	uint64_t max_bytes;
	struct image_ref ref;
	char *name;	     /* "docker.io/library/debian", for messages */
	bool must_be_signed; /* if it is a template */
	char *place;	     /* the name with its digest, or else its tag */
	struct strv hosts;   /* the mirrors, then the registry */
	size_t host;	     /* the one that is asked */
	struct session session;
	const struct variant_key *keys; /* of pull_choose() */
	size_t n_keys;
	char artifact[DIGEST_HEX_SIZE]; /* the manifest of the one that is pulled; "": none */
	struct turn turn;		/* of it */
};

/* Be the only process that fetches a digest.  of: for messages, "a layer" */
int pull_await_turn(struct pull *p, const char *hex, const char *of, struct turn *ret,
		    struct mvm_error *err);

/* Open what an earlier pull left of a digest in cache/pulls, or a new file.  A descriptor to close,
 * or -errno. */
int pull_open_beginning(struct pull *p, const char *hex, struct mvm_error *err);

/* Call fn with a session, until a host answers it.  Returns as fn, 0 or more is an answer. */
int pull_ask(struct pull *p, int (*fn)(struct session *s, void *arg, struct mvm_error *err),
	     void *arg, struct mvm_error *err);

/* Read a document among the blobs.  1, or 0 if it is missing or damaged, or -ENOMEM. */
int pull_read_stored(struct pull *p, const struct mvm_digest *digest, char **ret, size_t *ret_len);

/* A manifest or index, from the store or else from the registry, which then has it as a blob. */
int pull_manifest(struct pull *p, const struct mvm_digest *digest, char **ret, size_t *ret_len,
		  struct mvm_error *err);

/* Make a blob of a document, linked in a folder of staging by its digest. */
int pull_store_document(struct pull *p, int dir_fd, const char *text, size_t len,
			struct mvm_error *err);

/* A configuration, likewise. */
int pull_config(struct pull *p, const struct mvm_digest *digest, uint64_t size, char **ret,
		size_t *ret_len, struct mvm_error *err);

/* Make the folders of an image's blobs in dir_fd.  Returns a descriptor to close. */
int pull_make_folder(int dir_fd, struct mvm_error *err);

/* Link blobs into the folder dir, after fetching those that are missing. */
int pull_layers(struct pull *p, const struct oci_descriptor *layers, size_t n, int dir,
		struct mvm_error *err);

#endif
