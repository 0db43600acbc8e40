/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_DEB_H
#define IMAGE_DEB_H

/*
 * Debian packages: an ar archive of a few members, one of which is the tar of all installed files.
 *
 * Source: deb(5), and ar's header in binutils' include/aout/ar.h.
 */

#include <stdint.h>

#include "base/error.h"

/* Bytes of a file. */
struct deb_member {
	uint64_t offset, size;
};

/* Whether a file begins like an ar archive.  Returns 1, 0 or -errno. */
int deb_is(int fd);

/*
 * Find the member data.tar, however it is compressed.  mvm looks at 32 members at most; dpkg-deb
 * writes three.
 *
 *   fd    a regular file; its offset does not matter
 *   name  the file's, for messages
 *   ret   lies within the file
 *
 * Returns 0, -EINVAL (no such member), -EBADMSG (damaged) or errno.
 */
int deb_find_data(int fd, const char *name, struct deb_member *ret, struct mvm_error *err);

#endif
