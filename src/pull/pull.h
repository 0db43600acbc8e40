/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PULL_PULL_H
#define PULL_PULL_H

/*
 * Images from registries into the store.
 *
 *	pull_open(store, "debian:12", progress, &p, err);
 *	pull_resolve(p, &found, err);			the manifest for this machine
 *	pull_into(p, &found.manifest, dir_fd, err);	its blobs, in an image layout's folders
 *	... oci_open_blobs(dir_fd, ...), build ...
 *	pull_keep(store, &found, dir_fd, err);
 *	pull_free(p);
 *
 * A pull looks for every document and blob among the store's blobs first.  So it takes one HEAD to
 * resolve a tag that has not moved, and nothing more if the image is here.  A digest takes no
 * request.
 *
 * A fetched document or layer is an ordinary blob, whose digest the store has computed.  Blobs of
 * an image are safe from garbage collection once they are linked in dir_fd, a staging folder.
 *
 * Two pulls never fetch the same layer at the same time: one waits (store/turn.h).  A pull takes
 * layers in the order of their digests, so two pulls cannot wait for each other.
 */

#include <mvm/digest.h>
#include <stdint.h>

#include "artifact/assembly.h"
#include "artifact/layout.h"
#include "artifact/variants.h"
#include "base/error.h"
#include "base/own.h"
#include "base/progress.h"
#include "store/store.h"

struct pull;

/*
 * Prepare a pull.  Asks nobody.
 *
 *   store, progress  borrowed for the pull's life; progress may be NULL
 *   image            as image_ref_parse() takes it
 *   max_bytes        refuse layers that take more, packed; 0: as layer_limits has it
 *
 * Errors: as image_ref_parse(); -EINVAL for registries.toml.
 */
int pull_open(struct store *store, const char *image, uint64_t max_bytes,
	      const struct mvm_progress *progress, struct pull **ret, struct mvm_error *err);
void pull_free(struct pull *p);
DEFINE_AUTO(pull, pull_free)

struct pull_found {
	struct mvm_digest manifest; /* that this machine runs */
	struct mvm_digest index;    /* which led to it; zero: none */
	/* that index is one of a template's variants (artifact/variants.h): of this revision.  "":
	 * it is not */
	char revision[MVM_REVISION_HASH_SIZE];
	bool fits; /* the variant is for a host like this one; else it is any of them */
};

/* Of a template's variants take one for these kinds of hosts, the first that there is.  keys:
 * borrowed until pull_resolve() has returned. */
void pull_choose(struct pull *p, const struct variant_key *keys, size_t n);

/* Find the image that a reference means now.  Errors: -ENOENT (no such tag, or none for this
 * platform), -EACCES, -EBUSY (too many requests), -EBADMSG, -EREMOTEIO, ... */
int pull_resolve(struct pull *p, struct pull_found *ret, struct mvm_error *err);

/*
 * Tell from the documents that earlier pulls have left what a digest names.  Asks nobody.
 *
 *   root        an index of variants, or a template's manifest
 *   ret         as of pull_resolve(); set with 1
 *   ret_config  the manifest's configuration, the caller's; NULL: it is an index
 *
 * Returns 1, 0 (the documents are not all here, or are others) or -ENOMEM.
 */
int pull_recall(struct pull *p, const struct mvm_digest *root, struct pull_found *ret,
		char **ret_config, size_t *ret_len);

/* Is what the reference means a template's artifact, and no image?  1, 0, or as pull_resolve(),
 * which fetches no document again afterwards. */
int pull_is_artifact(struct pull *p, struct mvm_error *err);

/*
 * Put an image's manifest, configuration and layers into a folder, as blobs/sha256/<hex>.
 *
 *   manifest  as pull_resolve() gave it
 *   dir_fd    an empty folder in staging
 *
 * Errors: as pull_resolve(); -EFBIG over max_bytes.
 */
int pull_into(struct pull *p, const struct mvm_digest *manifest, int dir_fd, struct mvm_error *err);

/* Keep the blobs that pull_into() linked, for as long as a cached build names the image
 * (store/images.h). */
int pull_keep(struct store *store, const struct pull_found *image, int dir_fd,
	      struct mvm_error *err);

/*
 * Fetch the file of an artifact that holds just one, such as `oras push` makes.
 *
 *   manifest   as pull_resolve() gave it
 *   max_bytes  refuse a larger file: -EFBIG
 *   dir_fd     an empty folder in staging, which keeps a link to the file's blob
 *   ret_fd     the file, for reading; the caller's
 */
int pull_file(struct pull *p, const struct mvm_digest *manifest, uint64_t max_bytes, int dir_fd,
	      int *ret_fd, struct mvm_error *err);

/* ---- artifacts (artifact/layout.h), artifact.c ---- */

/*
 * Open a template's artifact: fetch its documents into a folder, as pull_into() does.  Takes its
 * turn.
 *
 *   manifest  as pull_resolve() gave it
 *   ret       reads blobs from dir_fd, which need not stay open
 */
int pull_artifact(struct pull *p, const struct mvm_digest *manifest, int dir_fd,
		  struct artifact *ret, struct mvm_error *err);

/* Only one process pulls an artifact at a time: who has its turn, until pull_free().  Wait for it,
 * unless this pull has it; or take it if nobody has: 1 or 0. */
int pull_take_turn(struct pull *p, const struct mvm_digest *manifest, struct mvm_error *err);
int pull_try_turn(struct pull *p, const struct mvm_digest *manifest, struct mvm_error *err);

/* Fetch blobs of the artifact into the same folder. */
int pull_parts(struct pull *p, const struct index_part *parts, size_t n, int dir_fd,
	       struct mvm_error *err);

/* Open the file that the ranges of the artifact's blobs are fetched into (artifact/assembly.h),
 * with what an earlier pull left in it.  A descriptor to close, or -errno. */
int pull_ranges_open(struct pull *p, struct mvm_error *err);

/* Fetch ranges of blobs into that file.  Nothing is compared with a digest.  At most
 * PULL_RANGES_MAX.  -EOPNOTSUPP: the registry sends no ranges. */
#define PULL_RANGES_MAX 256u
int pull_ranges(struct pull *p, const struct chunk_index *index, const struct chunk_ranges *ranges,
		int fd, struct progress_step *step, struct mvm_error *err);

/*
 * Begin to fetch ranges into that file, over a line of its own beside pull_ranges().
 *
 *	struct session line = SESSION_NONE;
 *	pull_line_begin(p, &line, ...);
 *	... whenever line.sock is readable: session_blobs_step(&line, err) ...
 *	pull_line_begin(p, &line, ...);			the next ones
 *	session_done(&line);
 *
 * Only chunks that are compared with their digests may be taken from the file while a line is open.
 * n: at most PULL_RANGES_MAX.  It asks the host that has answered last.
 */
struct session;
int pull_line_begin(struct pull *p, struct session *line, const struct chunk_index *index,
		    const struct chunk_range *v, size_t n, int fd, struct mvm_error *err);

/* The file is of no more use. */
void pull_ranges_drop(struct pull *p);

/* Fetch what may be signatures of the artifact into the same folder.  None is success. */
int pull_signatures(struct pull *p, int dir_fd, struct artifact *a, struct mvm_error *err);

/* Do the settings want a template from there to be signed by a trusted key? */
bool pull_must_be_signed(const struct pull *p);

/* "reg.example/team/web".  Borrowed. */
const char *pull_name(const struct pull *p);

/* Of the reference: "reg.example/team/web:v1", or "reg.example/team/web@sha256:..." if it has a
 * digest, as its tag then means nothing.  Borrowed. */
const char *pull_place(const struct pull *p);

/* Of the reference: its repository's last part, "web" in reg.example/team/web:v1.  Borrowed. */
const char *pull_short_name(const struct pull *p);

#endif
