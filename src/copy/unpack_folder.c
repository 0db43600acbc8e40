/* SPDX-License-Identifier: Apache-2.0 */
/* The folders on the way to the current entry. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "copy/unpack_state.h"

int unpack_split(struct unpack *u, const char *path, struct strv *ret, struct mvm_error *err)
{
	if (path[0] == '/')
		return mvm_error_set(err, -EPERM, "refused: '%s' is an absolute path", path);
	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");
		if (len == 2 && memcmp(p, "..", 2) == 0)
			return mvm_error_set(err, -EPERM, "refused: '%s' leads upwards", path);
		if (len > 255)
			return unpack_cannot(-ENAMETOOLONG, "make", path, err);
		if (len > 0 && !(len == 1 && *p == '.'))
			strv_addn(ret, p, len);
		p += len + (p[len] == '/');
	}
	if (ret->failed)
		return mvm_error_oom(err);
	if (ret->n > UNPACK_DEPTH_MAX)
		return mvm_error_set(err, -ELOOP, "'%s' is deeper than %u folders", path,
				     UNPACK_DEPTH_MAX);
	if (!u->top)
		return 0;
	if (ret->n > 0 && !u->from) {
		u->from = strdup(ret->v[0]);
		if (!u->from)
			return mvm_error_oom(err);
	}
	if (ret->n == 0 || !str_eq(ret->v[0], u->from))
		return mvm_error_set(err, -EBADMSG, "refused: '%s' was not asked for", path);
	char *name = strdup(u->top);
	if (!name)
		return mvm_error_oom(err);
	free(ret->v[0]);
	ret->v[0] = name;
	return 0;
}

int unpack_leave(struct unpack *u, struct mvm_error *err)
{
	struct unpack_level *l = &u->levels[--u->n_levels];
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, l->mtime };
	const char *name = l->name ? l->name : "."; /* the place has none */
	struct stat st;
	int r = 0;

	if (l->described && fstat(l->fd, &st) == 0) {
		if ((st.st_mode & 07777) != l->mode && fchmod(l->fd, l->mode) < 0)
			r = unpack_cannot(-errno, "set the mode of", name, err);
		else if ((st.st_mtim.tv_sec != l->mtime.tv_sec ||
			  st.st_mtim.tv_nsec != l->mtime.tv_nsec) &&
			 futimens(l->fd, times) < 0)
			r = unpack_cannot(-errno, "set the time of", name, err);
	}
	close(l->fd); /* a folder */
	free(l->name);
	return r;
}

static bool is_link(int parent_fd, const char *name)
{
	struct stat st;
	return fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

/* Open a folder, or make it if it is missing; never through a link.  described: the stream has an
 * entry for it. */
static int open_folder(const struct unpack *u, int parent_fd, const char *name, bool described,
		       bool *ret_made)
{
	int fd = dir_open_at(parent_fd, name);
	*ret_made = false;
	if ((fd == -ELOOP || fd == -ENOTDIR) && described && u->flags & UNPACK_REPLACE_LINKS &&
	    is_link(parent_fd, name))
		fd = unlinkat(parent_fd, name, 0) < 0 ? -errno : -ENOENT;
	if (fd != -ENOENT)
		return fd;
	*ret_made = mkdirat(parent_fd, name, 0755) == 0;
	if (!*ret_made && errno != EEXIST)
		return -errno;
	fd = dir_open_at(parent_fd, name);
	int r = fd >= 0 && *ret_made ? unpack_own_fd(u, fd) : 0;
	if (r < 0)
		close(fd); /* a folder */
	return r < 0 ? r : fd;
}

int unpack_enter(struct unpack *u, const struct strv *parts, size_t n, bool described,
		 const char *path, struct mvm_error *err)
{
	size_t same = 0;
	assert(n == 0 || parts->v);
	while (same < n && same + 1 < u->n_levels &&
	       str_eq(u->levels[same + 1].name, parts->v[same]))
		same++;
	while (u->n_levels > same + 1) {
		int r = unpack_forgive(u, unpack_leave(u, err), err);
		if (r < 0)
			return r;
	}
	for (size_t i = same; i < n; i++) {
		char *name = strdup(parts->v[i]);
		if (!name)
			return mvm_error_oom(err);
		bool made;
		int fd = open_folder(u, u->levels[u->n_levels - 1].fd, name,
				     described && i + 1 == n, &made);
		if (fd < 0)
			free(name);
		if (fd == -ELOOP || fd == -ENOTDIR)
			return mvm_error_set(err, fd == -ELOOP ? -EPERM : fd,
					     "refused: '%s' passes through '%s', which is no "
					     "folder",
					     path, parts->v[i]);
		if (fd < 0)
			return unpack_cannot(fd, "make", path, err);
		u->levels[u->n_levels++] =
			(struct unpack_level){ .fd = fd, .name = name, .made = made };
	}
	return 0;
}

int unpack_describe(struct unpack *u, struct unpack_level *l, const struct tar_entry *e,
		    struct mvm_error *err)
{
	struct stat st;
	if (fstat(l->fd, &st) < 0)
		return unpack_cannot(-errno, "look at", e->path, err);
	l->described = true;
	l->mtime = (struct timespec){ e->mtime_s, e->mtime_ns };
	if (l->made)
		l->mode = unpack_mode(u, e->mode, 0);
	else if (u->flags & UNPACK_KEEP_SAME)
		l->mode = unpack_mode(u, e->mode, st.st_mode);
	else
		l->mode = st.st_mode & 07777;
	int r = !l->made && u->flags & UNPACK_OWN_FOLDERS ? unpack_own_fd(u, l->fd) : 0;
	if (r < 0)
		return unpack_cannot(r, "set the owner of", e->path, err);
	/* so that files can be made in it */
	if (l->made && fchmod(l->fd, l->mode | 0700) < 0)
		return unpack_cannot(-errno, "set the mode of", e->path, err);
	return 0;
}

int unpack_open_parent(const struct unpack *u, const struct strv *parts)
{
	int fd = fcntl(u->levels[0].fd, F_DUPFD_CLOEXEC, 3);
	for (size_t i = 0; fd >= 0 && i + 1 < parts->n; i++) {
		int below = dir_open_at(fd, parts->v[i]);
		close(fd); /* a folder */
		fd = below;
	}
	return fd;
}
