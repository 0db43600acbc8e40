/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/firecracker/jail.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "vmm/privilege.h"

/* ---- is there a jailer ---- */

int fc_jailer_find(const char *binary, char **ret)
{
	static const char from[] = "firecracker", to[] = "jailer";
	const char *named = getenv(FC_JAILER_ENV);
	const char *base = strrchr(binary, '/');
	if (named && (!*named || str_eq(named, "none")))
		return 0;
	if (!named && (!base || !str_starts(base + 1, from)))
		return 0;
	AUTO_FREE char *path = named ? strdup(named)
				     : str_printf(
					       "%.*s%s%s", (int)(base + 1 - binary), binary, to,
					       base + sizeof(from)); /* "/firecracker" is as long */
	if (!path)
		return -ENOMEM;
	if (access(path, X_OK) < 0)
		return named ? -ENOENT : 0;
	*ret = TAKE_PTR(path);
	return 1;
}

/* Is the program linked statically?  A jail has no dynamic loader. */
static bool is_static(const char *binary)
{
	Elf64_Ehdr head;
	AUTO_CLOSE int fd = open(binary, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_phentsize != sizeof(Elf64_Phdr))
		return false;
	for (unsigned i = 0; i < head.e_phnum; i++) {
		Elf64_Phdr part;
		off_t at = (off_t)(head.e_phoff + i * sizeof(part));
		if (pread(fd, &part, sizeof(part), at) != (ssize_t)sizeof(part))
			return false;
		if (part.p_type == PT_INTERP)
			return false;
	}
	return true;
}

const char *fc_jail_obstacle(const char *binary, int dir_fd)
{
	struct statvfs fs;
	if (geteuid() != 0)
		return "only root can use the jailer";
	if (!privilege_has(CAP_SYS_ADMIN) || !privilege_has(CAP_MKNOD) ||
	    !privilege_has(CAP_SYS_CHROOT) || !privilege_has(CAP_SETUID) ||
	    !privilege_has(CAP_CHOWN))
		return "the jailer mounts, makes devices and changes users, which this root may "
		       "not";
	if (!is_static(binary))
		return "this Firecracker is not linked statically, so it cannot run in a jail";
	if (dir_fd >= 0 && fstatvfs(dir_fd, &fs) == 0 && (fs.f_flag & (ST_NODEV | ST_NOEXEC)))
		return "the data folder is mounted nodev or noexec, so it cannot hold a jail";
	return NULL;
}

int fc_jail_refuses(const char *binary, int dir_fd, char **ret_why)
{
	AUTO_FREE char *jailer = NULL;
	const char *named = getenv(FC_JAILER_ENV);
	if (geteuid() != 0 || (named && (!*named || str_eq(named, "none"))))
		return 0;
	int r = fc_jailer_find(binary, &jailer);
	if (r == -ENOMEM)
		return r;
	const char *obstacle;
	if (r == 1)
		obstacle = fc_jail_obstacle(binary, dir_fd);
	else
		obstacle = named ? FC_JAILER_ENV " names no jailer"
				 : "there is no jailer beside it";
	if (!obstacle)
		return 0;
	*ret_why = str_printf(
		"Firecracker would run as root: %s (" FC_JAILER_ENV "=none allows it)", obstacle);
	return *ret_why ? 1 : -ENOMEM;
}

int fc_jail_open(struct fc_jail *jail, const char *jailer, struct mvm_error *err)
{
	int r = own_uid_take(&jail->user);
	if (r < 0)
		return mvm_error_set(err, r, "cannot prepare a jail: %s", strerror(-r));
	jail->jailer = strdup(jailer);
	return jail->jailer ? 0 : mvm_error_oom(err);
}

void fc_jail_done(struct fc_jail *jail)
{
	fc_jail_give_back(jail);
	for (size_t i = 0; i < jail->n_files; i++)
		auto_close(&jail->files[i].tree_fd);
	own_uid_done(&jail->user);
	free(jail->jailer);
	*jail = (struct fc_jail)FC_JAIL_NONE;
}

/* ---- the jailer's arguments ---- */

static const char *file_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

char *fc_jail_root(const char *binary, const char *id)
{
	return str_printf("%s/%s/root", file_name(binary), id);
}

void fc_jail_args(const struct fc_jail *jail, const char *binary, const char *id, struct strv *ret)
{
	strv_add(ret, jail->jailer);
	strv_add(ret, "--id");
	strv_add(ret, id);
	strv_add(ret, "--exec-file");
	strv_add(ret, binary);
	strv_add(ret, "--uid");
	strv_addf(ret, "%u", (unsigned)jail->user.uid);
	strv_add(ret, "--gid");
	strv_addf(ret, "%u", (unsigned)jail->user.uid);
	strv_add(ret, "--chroot-base-dir"); /* the working folder, in which the jailer starts */
	strv_add(ret, ".");
	/* no cgroup: mvm itself puts the process into one, if there is one for it */
	strv_add(ret, "--");
}

/* ---- files ---- */

/* A detached mount of one file, with no more rights than needed. */
static int make_tree(int dir_fd, const char *file, enum fc_jail_access access)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
			    (access == FC_JAIL_READ ? MOUNT_ATTR_RDONLY : 0),
	};
	AUTO_CLOSE int fd = open_tree(dir_fd, file,
				      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int add(struct fc_jail *jail, int dir_fd, const char *file, const char *name,
	       enum fc_jail_access access)
{
	struct fc_jail_file *f = &jail->files[jail->n_files];
	if (faccessat(dir_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0;
	AUTO_CLOSE int place = openat(jail->root_fd, name,
				      O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0400);
	if (place < 0)
		return -errno;
	AUTO_CLOSE int tree = make_tree(dir_fd, file, access);
	AUTO_CLOSE int owned = -1;
	if (tree < 0)
		return tree;
	if (access == FC_JAIL_WRITE) {
		owned = openat(dir_fd, file, O_PATH | O_CLOEXEC | O_NOFOLLOW);
		if (owned < 0)
			return -errno;
		int r = own_uid_give(&jail->user, owned);
		if (r < 0)
			return r;
	}
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->dir_fd = dir_fd;
	f->tree_fd = TAKE_FD(tree);
	f->file_fd = TAKE_FD(owned);
	jail->n_files++;
	return 0;
}

int fc_jail_add(struct fc_jail *jail, int dir_fd, const char *file, const char *name,
		enum fc_jail_access access, struct mvm_error *err)
{
	if (strchr(name, '/') || strlen(name) >= sizeof(jail->files[0].name))
		return mvm_error_set(err, -EINVAL, "'%s' is no plain file name", name);
	for (size_t i = 0; i < jail->n_files; i++) {
		if (str_eq(jail->files[i].name, name) && jail->files[i].dir_fd == dir_fd)
			return 0; /* two uses of one file */
	}
	int r = jail->n_files < FC_JAIL_FILES_MAX ? add(jail, dir_fd, file, name, access) : -E2BIG;
	return r < 0 ? mvm_error_set(err, r, "cannot put '%s' into the jail: %s", name,
				     strerror(-r))
		     : 0;
}

int fc_jail_own(const struct fc_jail *jail, const char *name)
{
	return fchownat(jail->root_fd, name, jail->user.uid, jail->user.uid, AT_SYMLINK_NOFOLLOW) <
			       0
		       ? -errno
		       : 0;
}

void fc_jail_give_back(struct fc_jail *jail)
{
	for (size_t i = 0; i < jail->n_files; i++) {
		int fd = TAKE_FD(jail->files[i].file_fd);
		if (fd < 0)
			continue;
		own_uid_take_back(fd);
		close(fd);
	}
}

int fc_jail_enter(void *arg)
{
	const struct fc_jail *jail = arg;
	if (fchdir(jail->root_fd) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < jail->n_files; i++) {
		if (move_mount(jail->files[i].tree_fd, "", AT_FDCWD, jail->files[i].name,
			       MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return -errno;
	}
	/* not by its descriptor: that leads into the mount namespace before, where getcwd(2) finds
	 * no path, and the jailer of a release cannot work without one */
	return chdir("../../..") < 0 ? -errno : 0;
}
