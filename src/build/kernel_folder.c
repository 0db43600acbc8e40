/* SPDX-License-Identifier: Apache-2.0 */
#include "build/kernel_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/own.h"
#include "base/str.h"

#define ORDER	  "order"
#define ORDER_MAX ((size_t)1 << 20)

static bool is_file(int dir_fd, const char *name)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* Is a name one of the lines? */
static bool has_line(const char *text, const char *line)
{
	size_t len = strlen(line);
	for (const char *at = text; at && *at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, line, len) == 0 && (at[len] == '\n' || at[len] == '\0'))
			return true;
	}
	return false;
}

/* Without a readable order, the name tells whether a file is a module. */
static bool is_module(const char *order, const char *name)
{
	size_t len = strlen(name);
	return order ? has_line(order, name) : len > 3 && str_eq(name + len - 3, ".ko");
}

/* Look for a file that mvm did not make.  Returns 1 with its path, 0 or -errno. */
static int find_in_modules(int dir_fd, char **ret)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_FREE char *order = NULL;
	AUTO_CLOSE int fd = dir_open_at(dir_fd, "modules");
	int r = fd < 0 ? fd : dir_list(fd, &names);

	if (r == 0)
		file_read_at(fd, ORDER, ORDER_MAX, &order, NULL);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		const char *name = names.v[i];
		if (is_file(fd, name) && (str_eq(name, ORDER) || is_module(order, name)))
			continue;
		*ret = str_printf("modules/%s", name);
		return *ret ? 1 : -ENOMEM;
	}
	return r;
}

static int find_foreign(int dir_fd, char **ret)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(dir_fd, &names);

	for (size_t i = 0; r == 0 && i < names.n; i++) {
		const char *name = names.v[i];
		if (is_file(dir_fd, name) && (str_eq(name, KERNEL_JSON) || str_eq(name, "vmlinux")))
			continue;
		r = str_eq(name, "modules") ? find_in_modules(dir_fd, ret) : -ENOTDIR;
		if (r != -ENOTDIR && r != -ELOOP)
			continue;
		*ret = strdup(name);
		return *ret ? 1 : -ENOMEM;
	}
	return r;
}

static bool is_kernel(int fd)
{
	return is_file(fd, KERNEL_JSON) || is_file(fd, "vmlinux");
}

bool kernel_folder_is_own(int kernels_fd, const char *name)
{
	AUTO_CLOSE int fd = dir_open_at(kernels_fd, name);
	/* a folder that cannot be opened may be one */
	return fd >= 0 ? is_kernel(fd) : fd != -ENOTDIR && fd != -ELOOP && fd != -ENOENT;
}

int kernel_folder_may_go(int kernels_fd, const char *name, struct mvm_error *err)
{
	AUTO_FREE char *foreign = NULL;
	AUTO_CLOSE int fd = dir_open_at(kernels_fd, name);

	if (fd == -ENOTDIR || fd == -ELOOP || (fd >= 0 && !is_kernel(fd)))
		return mvm_error_set(err, -EEXIST,
				     "'kernels/%s' in the data folder is no kernel of mvm", name);
	int r = fd < 0 ? fd : find_foreign(fd, &foreign);
	if (r < 0)
		return mvm_error_set(err, r, "kernel '%s': %s", name, strerror(-r));
	if (r == 0)
		return 0;
	r = mvm_error_set(
		err, -EEXIST,
		"kernel '%s' cannot be removed: mvm did not make 'kernels/%s/%s' in the data "
		"folder",
		name, name, foreign);
	return mvm_error_hint(err, r, "move it to another place, then run the command again");
}
