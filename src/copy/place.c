/* SPDX-License-Identifier: Apache-2.0 */
#include "copy/place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static int cannot(int r, const char *what, const char *path, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot %s '%s': %s", what, path, strerror(-r));
}

/* mkdir -p.  The path comes from the user, so links in it are followed. */
static int make_path(int dir_fd, const char *path)
{
	AUTO_FREE char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	for (char *p = copy + strspn(copy, "/"); *p;) {
		p += strcspn(p, "/");
		char slash = *p;
		*p = '\0';
		if (mkdirat(dir_fd, copy, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = slash;
		p += strspn(p, "/");
	}
	return 0;
}

static int place_contents(const struct unpack_options *o, struct unpack_place *ret,
			  struct mvm_error *err)
{
	bool made = faccessat(o->dir_fd, o->path, F_OK, 0) < 0 && errno == ENOENT;
	int r = make_path(o->dir_fd, o->path);
	if (r < 0)
		return cannot(r, "make", o->path, err);
	int fd = openat(o->dir_fd, o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return cannot(-errno, "open", o->path, err);
	*ret = (struct unpack_place){ .fd = fd, .made = made };
	return 0;
}

/* Is this a device, pipe or socket, or a name for a process's open file, as /dev/stdout is?  A copy
 * in its place would break this system.  A volume's file may only be replaced if it still is a
 * file, and a link in its place is not followed. */
static bool is_irreplaceable(const struct unpack_options *o)
{
	static const char proc[] = "/proc/";
	char target[sizeof(proc) - 1];
	struct stat st;
	int flags = o->flags & UNPACK_ONE_FILE ? AT_SYMLINK_NOFOLLOW : 0;
	if (fstatat(o->dir_fd, o->path, &st, flags) == 0 && !S_ISREG(st.st_mode))
		return true;
	return readlinkat(o->dir_fd, o->path, target, sizeof(target)) == (ssize_t)sizeof(target) &&
	       memcmp(target, proc, sizeof(target)) == 0;
}

/* A new name in an existing folder. */
static int place_named(const struct unpack_options *o, int code, struct unpack_place *ret,
		       struct mvm_error *err)
{
	size_t len = strlen(o->path);
	const char *slash = strrchr(o->path, '/');
	const char *name = slash ? slash + 1 : o->path;
	if (len == 0 || !*name || str_eq(name, ".") || str_eq(name, ".."))
		return cannot(code, "open the folder", o->path, err);
	if (is_irreplaceable(o))
		return mvm_error_set(err, -EEXIST,
				     o->flags & UNPACK_ONE_FILE
					     ? "'%s' is no longer a file: a copy would replace it"
					     : "'%s' is neither file nor folder: a copy would "
					       "replace it",
				     o->path);
	AUTO_FREE char *parent = slash ? strndup(o->path, (size_t)(name - o->path)) : strdup(".");
	AUTO_FREE char *top = strdup(name);
	if (!parent || !top)
		return mvm_error_oom(err);
	int fd = openat(o->dir_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return cannot(-errno, "open the folder", parent, err);
	*ret = (struct unpack_place){ .fd = fd, .top = TAKE_PTR(top) };
	return 0;
}

/* Into an existing folder, or under a new name. */
static int place_one(const struct unpack_options *o, struct unpack_place *ret,
		     struct mvm_error *err)
{
	bool failed = false;
	if (o->flags & UNPACK_ONE_FILE)
		return place_named(o, -EISDIR, ret, err);
	AUTO_CLOSE int fd = openat(o->dir_fd, o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
		return cannot(-errno, "open", o->path, err);
	if (fd < 0)
		return place_named(o, -errno, ret, err);
	char *top = str_dup(o->name, &failed);
	if (failed)
		return mvm_error_oom(err);
	*ret = (struct unpack_place){ .fd = TAKE_FD(fd), .top = top };
	return 0;
}

int unpack_place_open(const struct unpack_options *o, struct unpack_place *ret,
		      struct mvm_error *err)
{
	return o->flags & UNPACK_CONTENTS ? place_contents(o, ret, err) : place_one(o, ret, err);
}
