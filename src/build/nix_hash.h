/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BUILD_NIX_HASH_H
#define BUILD_NIX_HASH_H

/*
 * --update-hash: put the hashes that Nix found into flake.nix in the place of the ones it called
 * wrong, and nothing else; put the file back if the build fails all the same.
 *
 *	struct nix_hash_edit e;
 *	nix_hash_open(folder, &e, err);
 *	while (the build fails and names a wrong hash)
 *		nix_hash_update(&e, specified, got, err);
 *	if (it still fails)
 *		nix_hash_restore(&e, err);
 *	nix_hash_done(&e);
 *
 * The file is replaced as a whole each time.  A crash or SIGKILL in the middle leaves hashes that
 * Nix found to be the right ones.
 */

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/own.h"

/*
 * The text with one hash exchanged.
 *
 *   specified  "sha256-<base64>"; also found as hexadecimal or in Nix's base 32
 *   got        what takes its place, as it is
 *   ret        the caller's, NUL-terminated
 *
 * Errors: -ENOENT (it is not in the text), -EINVAL (it is there more than once), -ENOMEM.
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

/* Read flake.nix, which must be a file and no link. */
int nix_hash_open(const char *folder, struct nix_hash_edit *ret, struct mvm_error *err);

/* Exchange one hash in the file.  Errors as nix_hash_replace, -EBUSY when somebody else has changed
 * the file meanwhile, or errno. */
int nix_hash_update(struct nix_hash_edit *e, const char *specified, const char *got,
		    struct mvm_error *err);

/* Put the file back as it was, if it was changed. */
int nix_hash_restore(struct nix_hash_edit *e, struct mvm_error *err);

#endif
