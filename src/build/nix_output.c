/* SPDX-License-Identifier: Apache-2.0 */
#include "build/nix_output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/image.h"
#include "image/image_ext4.h"
#include "image/kernel.h"
#include "image/module_tree.h"

#define INITRD_MAX ((off_t)1 << 30)

struct output {
	const char *path;
	char *store; /* the folder that holds it */
	int fd;
};

/* Open a file or folder of the output.  -ENOENT without a sentence when it is missing. */
static int open_part(const struct output *o, const char *name, struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(o->fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open '%s/%s': %s", o->path, name,
				     strerror(errno));
	int r = module_tree_inside(fd, o->store, name, err);
	return r < 0 ? r : TAKE_FD(fd);
}

/* Open the first existing one of the names.  NULL and -1: none exists. */
static int open_first(const struct output *o, const char *const names[2], const char **ret_name,
		      struct mvm_error *err)
{
	for (int i = 0; i < 2; i++) {
		int fd = open_part(o, names[i], err);
		*ret_name = names[i];
		if (fd != -ENOENT)
			return fd;
	}
	*ret_name = NULL;
	return -1;
}

/* The output has no root filesystem: list its contents. */
static int no_rootfs(const struct output *o, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_DONE(strbuf) list = { 0 };

	int r = dir_list(o->fd, &names);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", o->path, strerror(-r));
	for (size_t i = 0; i < names.n && i < 10; i++)
		strbuf_addf(&list, "%s%s", i ? ", " : "", names.v[i]);
	if (names.n > 10)
		strbuf_addf(&list, " and %zu more", names.n - 10);
	if (list.failed)
		return mvm_error_oom(err);
	return mvm_error_set(
		err, -EINVAL,
		"the flake's output '%s' has neither rootfs.ext4 nor rootfs; it has %s", o->path,
		names.n ? list.data : "nothing");
}

static int take_rootfs(const struct output *o, int out_fd, const struct image_options *options,
		       struct mvm_error *err)
{
	static const char *const names[2] = { "rootfs.ext4", "rootfs" };
	const char *name;
	struct stat st;

	AUTO_CLOSE int fd = open_first(o, names, &name, err);
	if (!name)
		return no_rootfs(o, err);
	if (fd < 0)
		return fd;
	AUTO_FREE char *path = str_printf("%s/%s", o->path, name);
	if (!path)
		return mvm_error_oom(err);
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && S_ISDIR(st.st_mode))
		return image_from_dir(fd, path, out_fd, options, NULL, err);
	if (r == 0 && !S_ISREG(st.st_mode))
		return mvm_error_set(err, -EINVAL, "'%s' is neither a file nor a folder", path);
	if (r == 0)
		r = image_is_ext4(fd);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r));
	return r ? image_copy_ext4(fd, path, out_fd, err)
		 : image_from_tar(fd, path, out_fd, options, err);
}

static int take_modules(const struct output *o, int kernel_fd, struct kernel_info *info,
			struct mvm_error *err)
{
	AUTO_CLOSE int fd = open_part(o, "lib/modules", err);
	AUTO_FREE char *path = str_printf("%s/lib/modules", o->path);

	if (fd == -ENOENT)
		return 0; /* the kernel has the modules that a guest needs built in */
	if (fd < 0)
		return fd;
	return path ? module_tree_import(fd, path, o->store, kernel_fd, info, err)
		    : mvm_error_oom(err);
}

static int take_kernel(const struct output *o, int work_fd, struct build_product *ret,
		       struct mvm_error *err)
{
	static const char *const names[2] = { "vmlinux", "kernel" };
	struct kernel_info info = { 0 };
	const char *name;

	AUTO_CLOSE int fd = open_first(o, names, &name, err);
	if (!name)
		return 0;
	if (fd < 0)
		return fd;
	AUTO_FREE char *path = str_printf("%s/%s", o->path, name);
	if (!path)
		return mvm_error_oom(err);
	AUTO_CLOSE int kernel_fd = dir_make_at(work_fd, "kernel");
	if (kernel_fd < 0)
		return mvm_error_set(err, kernel_fd, "cannot make a folder in staging: %s",
				     strerror(-kernel_fd));
	int r = kernel_import(fd, path, kernel_fd, NULL, &info, err);
	if (r == 0)
		r = take_modules(o, kernel_fd, &info, err);
	if (r < 0)
		return r;
	ret->kernel = info;
	ret->kernel_fd = TAKE_FD(kernel_fd);
	return 0;
}

/* Copy the initrd unchanged: only its kernel must know its compression. */
static int take_initrd(const struct output *o, int work_fd, struct build_product *ret,
		       struct mvm_error *err)
{
	struct stat st = { 0 };

	AUTO_CLOSE int fd = open_part(o, "initrd", err);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && (!S_ISREG(st.st_mode) || st.st_size == 0))
		return mvm_error_set(err, -EINVAL, "'%s/initrd' is empty or no regular file",
				     o->path);
	if (r == 0 && st.st_size > INITRD_MAX)
		return mvm_error_set(err, -EFBIG, "'%s/initrd' is larger than 1 GiB", o->path);
	AUTO_CLOSE int to_fd = openat(work_fd, BUILD_INITRD_NAME,
				      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (r == 0)
		r = to_fd < 0 ? -errno : file_copy_fd(fd, to_fd);
	if (r < 0)
		return mvm_error_set(err, r, "cannot copy '%s/initrd': %s", o->path, strerror(-r));
	ret->has_initrd = true;
	return 0;
}

int nix_output_take(const char *path, int out_fd, int work_fd, const struct image_options *options,
		    struct build_product *ret, struct mvm_error *err)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *store = slash && slash > path ? strndup(path, (size_t)(slash - path))
						      : strdup("");
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOTDIR)
		return mvm_error_set(err, -EINVAL,
				     "the flake's output '%s' is a file; it must be a folder with "
				     "rootfs.ext4 or rootfs",
				     path);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open the flake's output '%s': %s", path,
				     strerror(errno));
	if (!store)
		return mvm_error_oom(err);
	struct output o = { .path = path, .store = store, .fd = fd };
	int r = take_rootfs(&o, out_fd, options, err);
	if (r >= 0)
		r = take_kernel(&o, work_fd, ret, err);
	return r < 0 ? r : take_initrd(&o, work_fd, ret, err);
}
