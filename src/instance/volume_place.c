/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/volume_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

void volume_place_done(struct volume_place *p)
{
	if (p->fd >= 0)
		close(p->fd); /* a folder */
	p->fd = -1;
}

static int take_file(int dir_fd, const char *name, struct volume_place *ret)
{
	ret->is_file = true;
	snprintf(ret->path, sizeof(ret->path), "%s", name);
	ret->fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	return ret->fd < 0 ? -errno : 0;
}

static int look(int dir_fd, const char *name, enum record_volume_kind kind, bool make,
		struct volume_place *ret)
{
	struct stat st;
	int r = fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	ret->missing = r == -ENOENT && make && kind == RECORD_VOLUME_FILE;
	if (ret->missing)
		return take_file(dir_fd, name, ret);
	if (r == -ENOENT && make)
		r = mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
	else if (r == 0 && S_ISLNK(st.st_mode))
		r = -ELOOP;
	else if (r == 0 && kind == RECORD_VOLUME_FOLDER && !S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	else if (r == 0 && kind == RECORD_VOLUME_FILE && !S_ISREG(st.st_mode))
		r = -EISDIR;
	else if (r == 0 && S_ISREG(st.st_mode))
		return take_file(dir_fd, name, ret);
	if (r < 0)
		return r;
	snprintf(ret->path, sizeof(ret->path), ".");
	ret->fd = dir_open_at(dir_fd, name);
	return ret->fd < 0 ? ret->fd : 0;
}

int volume_place_open(const char *host, enum record_volume_kind kind, bool make,
		      struct volume_place *ret, struct mvm_error *err)
{
	struct volume_place p = VOLUME_PLACE_NONE;
	const char *slash = strrchr(host, '/');
	AUTO_FREE char *folder = strndup(host, slash == host ? 1 : (size_t)(slash - host));

	if (!folder)
		return mvm_error_oom(err);
	AUTO_CLOSE int dir_fd = dir_open_without_links(folder);
	const char *name = slash[1] ? slash + 1 : ".";
	int r = dir_fd < 0 ? dir_fd : look(dir_fd, name, kind, make, &p);
	if (r == -ELOOP)
		return mvm_error_set(err, -EPERM,
				     "'%s' leads through a symbolic link that was not there before",
				     host);
	if (r == -EISDIR || r == -ENOTDIR)
		return mvm_error_set(err, -EEXIST, "'%s' is no longer a %s", host,
				     r == -EISDIR ? "file" : "folder");
	if (r < 0)
		return mvm_error_set(err, r, "cannot open '%s': %s", host, strerror(-r));
	*ret = p;
	return 0;
}
