/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_HASH_H
#define BUILD_NIX_HASH_H

/*
 * --update-hash: replace the hashes in flake.nix that Nix called wrong by the right ones, and
 * change nothing else.  Put the file back if the build still fails.
 *
 *	struct nix_hash_edit e;
 *	nix_hash_open(folder, &e, err);
 *	while (the build fails and names a wrong hash)
 *		nix_hash_update(&e, specified, got, err);
 *	if (it still fails)
 *		nix_hash_restore(&e, err);
 *	nix_hash_done(&e);
 *
 * Each change replaces the file as a whole.  A crash or SIGKILL in the middle leaves hashes that
 * Nix called right.
 */

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/own.h"

/*
 * Replace one hash in a text.
 *
 *   specified  "sha256-<base64>"; also found as hexadecimal or in Nix's base 32
 *   got        the replacement, copied unchanged
 *   ret        the caller's, NUL-terminated
 *
 * Errors: -ENOENT (the hash is missing), -EINVAL (it occurs more than once), -ENOMEM.
 */
int nix_hash_replace(const char *text, size_t len, const char *specified, const char *got,
		     char **ret, size_t *ret_len, struct mvm_error *err);

struct nix_hash_edit {
	int dir_fd;
	char *original, *current; /* the file before and now */
	size_t original_len, current_len;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	unsigned changes;
};
#define NIX_HASH_EDIT_NONE                                                                         \
	{                                                                                          \
		.dir_fd = -1                                                                       \
	}
void nix_hash_done(struct nix_hash_edit *e);
DEFINE_AUTO_DONE(nix_hash_edit, nix_hash_done)

/* Read flake.nix.  A link is refused. */
int nix_hash_open(const char *folder, struct nix_hash_edit *ret, struct mvm_error *err);

/* Exchange one hash in the file.  Errors as nix_hash_replace, -EBUSY when somebody else has changed
 * the file meanwhile, or errno. */
int nix_hash_update(struct nix_hash_edit *e, const char *specified, const char *got,
		    struct mvm_error *err);

/* Put the file back as it was, if it was changed. */
int nix_hash_restore(struct nix_hash_edit *e, struct mvm_error *err);

#endif
