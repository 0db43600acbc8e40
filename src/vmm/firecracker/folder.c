/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/firecracker/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/file.h"
#include "vmm/firecracker/firecracker.h"

static bool leads_to(int dir_fd, const char *name, const char *target)
{
	char got[PATH_MAX];
	ssize_t n = readlinkat(dir_fd, name, got, sizeof(got));
	bool same = n >= 0 && (size_t)n == strlen(target) && memcmp(got, target, (size_t)n) == 0;
	errno = EEXIST; /* the caller reports this if the link leads elsewhere */
	return same;
}

static int add_link(int dir_fd, const char *name, enum fc_fd through, const char *file,
		    struct mvm_error *err)
{
	AUTO_FREE char *target = str_printf("/proc/self/fd/%d/%s", through, file);
	if (!target)
		return mvm_error_oom(err);
	if (strchr(name, '/') || strstr(file, ".."))
		return mvm_error_set(err, -EINVAL, "'%s' is no plain file name", name);
	if (symlinkat(target, dir_fd, name) == 0 ||
	    (errno == EEXIST && leads_to(dir_fd, name, target))) /* two uses of one file */
		return 0;
	return mvm_error_set(err, -errno, "cannot link '%s': %s", name, strerror(errno));
}

/* Where the files are, and where Firecracker shall see them. */
struct files {
	const struct vmm_config *config;
	int dir_fd;
	struct fc_jail *jail; /* NULL: the folder has links to the files */
};

static int folder_of(const struct vmm_config *c, enum fc_fd folder)
{
	if (folder == FC_FD_MEMORY_DIR)
		return c->memory_dir_fd;
	return folder == FC_FD_OWN_DIR ? c->own_dir_fd : c->dir_fd;
}

static int add_file(const struct files *f, enum fc_fd through, const char *file, const char *name,
		    enum fc_jail_access access, struct mvm_error *err)
{
	if (!f->jail)
		return add_link(f->dir_fd, name, through, file, err);
	return fc_jail_add(f->jail, folder_of(f->config, through), file, name, access, err);
}

/* A link of the other kind, since Firecracker writes it when it has no /proc any more.  Returns
 * false where the memory is on another file system. */
static bool link_memory(const struct files *f)
{
	const struct vmm_config *c = f->config;
	return !f->jail && c->memory == VMM_MEMORY_CAPTURE &&
	       linkat(c->memory_dir_fd, c->memory_name, f->dir_fd, FC_MEMORY_FILE, 0) == 0;
}

static int add_files(const struct files *f, struct mvm_error *err)
{
	const struct vmm_config *c = f->config;
	int r = 0;
	/* first, so that no other file takes its name */
	if (c->memory != VMM_MEMORY_PRIVATE && !link_memory(f))
		r = add_file(f, FC_FD_MEMORY_DIR, c->memory_name, FC_MEMORY_FILE,
			     c->memory == VMM_MEMORY_CAPTURE ? FC_JAIL_WRITE : FC_JAIL_READ, err);
	if (r == 0 && c->memory != VMM_MEMORY_CLONE) { /* a clone's kernel is in its memory */
		r = add_file(f, FC_FD_REVISION, c->kernel, c->kernel, FC_JAIL_READ, err);
		if (r == 0 && c->initrd)
			r = add_file(f, FC_FD_REVISION, c->initrd, c->initrd, FC_JAIL_READ, err);
	}
	for (size_t i = 0; r == 0 && i < c->n_drives; i++) {
		const struct vmm_drive *drive = &c->drives[i];
		r = add_file(f, drive->own ? FC_FD_OWN_DIR : FC_FD_REVISION, drive->name,
			     fc_drive_name(drive), drive->read_only ? FC_JAIL_READ : FC_JAIL_WRITE,
			     err);
	}
	return r;
}

/* Make folders, each in the one before.  Returns the innermost. */
static int make_path(int dir_fd, const char *path)
{
	AUTO_CLOSE int at = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	while (at >= 0 && *path) {
		size_t len = strcspn(path, "/");
		AUTO_FREE char *name = strndup(path, len);
		int next = name ? dir_make_at(at, name) : -ENOMEM;
		close(at);
		at = next;
		path += len;
		path += *path == '/';
	}
	return at == -1 ? -errno : TAKE_FD(at);
}

int fc_folder_make(const struct vmm_config *c, struct fc_jail *jail, const char *root,
		   struct fc_folder *ret, struct mvm_error *err)
{
	AUTO_DONE(fc_folder) folder = FC_FOLDER_NONE;
	int r = 0;
	folder.parent_fd = fcntl(c->work_fd, F_DUPFD_CLOEXEC, 3);
	if (folder.parent_fd < 0)
		r = -errno;
	if (r == 0)
		r = folder.base_fd = dir_make_unique_at(folder.parent_fd, "firecracker-",
							folder.name);
	if (r >= 0)
		r = folder.fd = make_path(folder.base_fd, jail ? root : "");
	if (r < 0)
		return mvm_error_set(err, r, "cannot make a working folder: %s", strerror(-r));
	if (jail)
		jail->root_fd = folder.fd;
	const struct files files = { c, folder.fd, jail };
	r = add_files(&files, err);
	if (r < 0)
		return r;
	*ret = folder;
	folder = (struct fc_folder)FC_FOLDER_NONE;
	return 0;
}

void fc_folder_done(struct fc_folder *folder)
{
	auto_close(&folder->fd);
	if (folder->base_fd >= 0) {
		close(folder->base_fd);
		tree_remove_at(folder->parent_fd, folder->name); /* `mvm rm` takes what stays */
	}
	if (folder->parent_fd >= 0)
		close(folder->parent_fd);
	*folder = (struct fc_folder)FC_FOLDER_NONE;
}

int fc_folder_watch(const struct fc_folder *folder)
{
	char path[FD_PATH_SIZE];
	AUTO_CLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	fd_path(folder->fd, path);
	if (fd < 0 || inotify_add_watch(fd, path, IN_CREATE) < 0)
		return -errno;
	return TAKE_FD(fd);
}
