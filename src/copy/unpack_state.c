/* SPDX-License-Identifier: Apache-2.0 */
#include "copy/unpack_state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

int unpack_cannot(int r, const char *what, const char *path, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot %s '%s': %s", what, path, strerror(-r));
}

int unpack_forgive(struct unpack *u, int r, struct mvm_error *err)
{
	return u->flags & UNPACK_GO_ON ? some_forgive(&u->missed, r, err) : r;
}

mode_t unpack_mode(const struct unpack *u, mode_t wanted, mode_t before)
{
	if (!(u->flags & UNPACK_GUARDED))
		return wanted;
	return (wanted & ~u->umask) | (u->flags & UNPACK_KEEP_SAME ? wanted & before : 0);
}

int unpack_own(const struct unpack *u, int dir_fd, const char *name, int flags)
{
	if (!(u->flags & UNPACK_OWNED) ||
	    fchownat(dir_fd, name, u->owner.uid, u->owner.gid, flags) == 0)
		return 0;
	return -errno;
}

int unpack_own_fd(const struct unpack *u, int fd)
{
	return unpack_own(u, fd, "", AT_EMPTY_PATH);
}

int unpack_folder_fd(const struct unpack *u)
{
	return u->levels[u->n_levels - 1].fd;
}
