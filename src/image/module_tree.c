/* SPDX-License-Identifier: Apache-2.0 */
#include "image/module_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "image/kernel_features.h"
#include "image/module.h"
#include "image/unpack.h"

#define MODULE_MAX   ((size_t)64 << 20)
#define DEP_MAX	     ((size_t)16 << 20)
#define DEPTH_MAX    16u
#define BUILTIN_LIST "modules.builtin"
#define ENTRIES_MAX  200000u

struct module_tree {
	const char *name, *inside;
	int release_fd; /* lib/modules/<release> */
	struct module_list modules;
	const struct module **order;
	size_t n_order;
	size_t n_entries;
};

int module_tree_inside(int fd, const char *inside, const char *name, struct mvm_error *err)
{
	char link[FD_PATH_SIZE], path[PATH_MAX];
	size_t len = strlen(inside);

	fd_path(fd, link);
	ssize_t n = readlink(link, path, sizeof(path));
	if (n < 0 || n == (ssize_t)sizeof(path))
		return mvm_error_set(err, n < 0 ? -errno : -ENAMETOOLONG,
				     "cannot find out where '%s' is", name);
	path[n] = '\0';
	if (str_starts(path, inside) && (!path[len] || path[len] == '/'))
		return 0;
	return mvm_error_set(err, -EACCES, "'%s' leads to '%s', outside of '%s'", name, path,
			     inside);
}

static int cannot_read(const struct module_tree *t, const char *path, int code,
		       struct mvm_error *err)
{
	return mvm_error_set(err, code, "cannot read '%s/%s': %s", t->name, path, strerror(-code));
}

static int open_inside(const struct module_tree *t, const char *path, int flags,
		       struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(t->release_fd, path, flags | O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return cannot_read(t, path, -errno, err);
	int r = module_tree_inside(fd, t->inside, path, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int read_module(const struct module_tree *t, const char *path, char **ret, size_t *ret_len,
		       struct mvm_error *err)
{
	AUTO_FREE char *packed = NULL;
	size_t len = 0;

	AUTO_CLOSE int fd = open_inside(t, path, 0, err);
	if (fd < 0)
		return fd;
	struct stat st;
	int r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && !S_ISREG(st.st_mode))
		r = -EINVAL;
	if (r == 0)
		r = file_read_fd(fd, MODULE_MAX, &packed, &len);
	if (r < 0)
		return cannot_read(t, path, r, err);
	if (strcmp(path + strlen(path) - 3, ".ko") != 0)
		return unpack_buf(packed, len, path, MODULE_MAX, ret, ret_len, err);
	*ret = TAKE_PTR(packed);
	*ret_len = len;
	return 0;
}

static int scan(struct module_tree *t, const char *folder, unsigned depth, struct mvm_error *err);

static int scan_entry(struct module_tree *t, const char *path, unsigned depth,
		      struct mvm_error *err)
{
	AUTO_FREE char *data = NULL;
	struct stat st;
	size_t len = 0;

	if (++t->n_entries > ENTRIES_MAX)
		return mvm_error_set(err, -EFBIG, "'%s' contains more than %u files", t->name,
				     ENTRIES_MAX);
	if (fstatat(t->release_fd, path, &st, 0) < 0)
		return errno == ENOENT || errno == ELOOP ? 0 /* a broken link is no module */
							 : cannot_read(t, path, -errno, err);
	if (S_ISDIR(st.st_mode))
		return scan(t, path, depth + 1, err);
	if (!S_ISREG(st.st_mode) || !module_is_path(path))
		return 0;
	int r = read_module(t, path, &data, &len, err);
	return r < 0 ? r : module_add(&t->modules, data, len, path, err);
}

/* Collect the modules below a folder; "." is the release itself. */
static int scan(struct module_tree *t, const char *folder, unsigned depth, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	bool top = depth == 0;

	if (depth > DEPTH_MAX)
		return mvm_error_set(err, -EFBIG, "'%s' is more than %u folders deep", t->name,
				     DEPTH_MAX);
	AUTO_CLOSE int fd = open_inside(t, folder, O_DIRECTORY, err);
	if (fd < 0)
		return fd;
	int r = dir_list(fd, &names);
	if (r < 0)
		return cannot_read(t, folder, r, err);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		const char *name = names.v[i];
		/* distributions put links to the kernel's source here */
		if (top && (str_eq(name, "build") || str_eq(name, "source")))
			continue;
		AUTO_FREE char *path = top ? strdup(name) : str_printf("%s/%s", folder, name);
		r = path ? scan_entry(t, path, depth, err) : mvm_error_oom(err);
	}
	return r;
}

static int list_modules(struct module_tree *t, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;

	AUTO_CLOSE int fd = openat(t->release_fd, "modules.dep", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return scan(t, ".", 0, err);
	int r = fd < 0 ? cannot_read(t, "modules.dep", -errno, err)
		       : module_tree_inside(fd, t->inside, "modules.dep", err);
	if (r < 0)
		return r;
	r = file_read_fd(fd, DEP_MAX, &text, &len);
	if (r < 0)
		return cannot_read(t, "modules.dep", r, err);
	r = module_read_dep(&t->modules, text, len, err);
	return r < 0 ? mvm_error_context(err, r, "'%s/modules.dep'", t->name) : 0;
}

/* Read modules.builtin, if it exists. */
static int read_builtin(struct module_tree *t, struct kernel_info *info, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;

	AUTO_CLOSE int fd = openat(t->release_fd, BUILTIN_LIST, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	int r = fd < 0 ? cannot_read(t, BUILTIN_LIST, -errno, err)
		       : module_tree_inside(fd, t->inside, BUILTIN_LIST, err);
	if (r < 0)
		return r;
	r = file_read_fd(fd, KERNEL_CONFIG_MAX, &text, &len);
	if (r < 0)
		return cannot_read(t, BUILTIN_LIST, r, err);
	kernel_features_builtin(text, info->features);
	return 0;
}

static int write_modules(struct module_tree *t, int dest_dir_fd, struct kernel_info *info,
			 struct mvm_error *err)
{
	AUTO_FREE struct mvm_digest *digests = calloc(t->n_order, sizeof(*digests));
	AUTO_CLOSE int fd = dir_make_at(dest_dir_fd, "modules");

	if (!digests)
		return mvm_error_oom(err);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot create 'modules': %s", strerror(-fd));
	for (size_t i = 0; i < t->n_order; i++) {
		AUTO_FREE char *data = NULL;
		char name[MODULE_NAME_SIZE + 4];
		size_t len = 0;
		int r = read_module(t, t->order[i]->path, &data, &len, err);
		if (r < 0)
			return r;
		snprintf(name, sizeof(name), "%s.ko", t->order[i]->name);
		sha256_buf(data, len, &digests[i]);
		r = file_create_at(fd, name, data, len, 0444);
		if (r < 0)
			return mvm_error_set(err, r, "cannot write '%s': %s", name, strerror(-r));
	}
	int r = module_write_order(fd, t->order, digests, t->n_order, &info->modules, err);
	if (r == 0)
		r = dir_sync(fd) < 0 ? mvm_error_set(err, -errno, "cannot write 'modules': %s",
						     strerror(errno))
				     : 0;
	info->n_modules = r == 0 ? (unsigned)t->n_order : 0;
	return r;
}

/* Choose the folder of the kernel's release.  If the kernel does not tell its release, that is the
 * only folder. */
static int choose_release(int tree_fd, const char *tree_name, struct kernel_info *info,
			  struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };

	int r = dir_list(tree_fd, &names);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", tree_name, strerror(-r));
	if (*info->version && strv_has(&names, info->version))
		return 0;
	if (!*info->version && names.n == 1 && strlen(names.v[0]) < sizeof(info->version)) {
		snprintf(info->version, sizeof(info->version), "%s", names.v[0]);
		return 0;
	}
	return mvm_error_set(err, -EINVAL, "'%s' has no modules for kernel '%s', but%s%s%s",
			     tree_name, info->version, names.n ? " for '" : " nothing",
			     names.n ? names.v[0] : "", names.n ? "'" : "");
}

int module_tree_import(int tree_fd, const char *tree_name, const char *inside, int dest_dir_fd,
		       struct kernel_info *info, struct mvm_error *err)
{
	struct module_tree t = { .name = tree_name, .inside = inside };

	int r = choose_release(tree_fd, tree_name, info, err);
	if (r < 0)
		return r;
	t.release_fd = openat(tree_fd, info->version, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t.release_fd < 0)
		return cannot_read(&t, info->version, -errno, err);
	r = module_tree_inside(t.release_fd, inside, tree_name, err);
	if (r == 0)
		r = list_modules(&t, err);
	if (r == 0)
		r = module_order(&t.modules, &t.order, &t.n_order, err);
	if (r == 0)
		r = read_builtin(&t, info, err);
	if (r == 0)
		kernel_features_modules(t.order, t.n_order, info->features);
	if (r == 0 && t.n_order > 0)
		r = write_modules(&t, dest_dir_fd, info, err);
	free(t.order);
	module_list_done(&t.modules);
	close(t.release_fd); /* only read from */
	return r < 0 ? mvm_error_context(err, r, "'%s'", tree_name) : 0;
}
