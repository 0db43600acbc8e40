/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REGISTRY_UPLOAD_H
#define REGISTRY_UPLOAD_H

/*
 * Uploads to the repository of a client, one after another, over one connection.
 *
 * A blob goes up in one piece, by POST and PUT: not every registry takes pieces.  What fails for a
 * moment is tried again from the POST on, as the address of an upload may be gone.  Credentials go
 * to the registry itself, never to another host that it names.
 *
 * Source: OCI distribution-spec v1.1, "Pushing blobs" and "Pushing manifests".
 */

#include "registry/client.h"

/* Does the repository have a blob?  1, 0, or -errno. */
int upload_has(struct client *c, const char *digest, struct mvm_error *err);

/* Put a blob: all `size` bytes of fd.  Errors: -EACCES, -EFBIG, -EBUSY, -EREMOTEIO and others. */
int upload_blob(struct client *c, const char *digest, int fd, uint64_t size, struct mvm_error *err);

/* Put a manifest under a tag or digest. */
int upload_manifest(struct client *c, const char *reference, const char *type, int fd,
		    uint64_t size, struct mvm_error *err);

#endif
