/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTRY_API_H
#define REGISTRY_API_H

/*
 * What a registry's API has beside manifests and blobs: the check of a login, lists, deletions.
 *
 * What fails for a moment is tried again.  The next page of a list is asked of the registry itself,
 * whatever host its Link header names.
 *
 * Source: OCI distribution-spec v1.1, "Listing Tags", "Listing Referrers", "Deleting Manifests".
 */

#include "registry/client.h"

/* Does the registry take the target's user?  1; 0: it asks nobody for a password; -EACCES. */
int api_login(struct client *c, struct mvm_error *err);

/*
 * Fetch a page of a list.
 *
 *   what      "tags/list?n=100" of the repository, or *ret_next of the page before
 *   fd        where it goes, at most max bytes
 *   ret_next  NULL: there is no next page; free(3) it
 *
 * Returns 1, 0 (there is no such list) or -errno.
 */
int api_list(struct client *c, const char *what, int fd, uint64_t max, char **ret_next,
	     struct mvm_error *err);

/* Delete a manifest.  0; -ENOENT; -EOPNOTSUPP: the registry deletes nothing. */
int api_delete(struct client *c, const char *digest, struct mvm_error *err);

#endif
