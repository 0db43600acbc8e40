/* SPDX-License-Identifier: Apache-2.0 */
#include "image/kernel.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "codec/sha256.h"
#include "image/deb.h"
#include "image/kernel_features.h"
#include "image/kernel_image.h"
#include "image/layer_stream.h"
#include "image/module.h"

#define MODULE_MAX  ((size_t)64 << 20)
#define PACKAGE_MAX (UINT64_C(4) << 30) /* uncompressed; unpack_limit() may be lower */

/* The state of one import. */
struct import {
	const char *src_name;
	const struct mvm_progress *progress; /* may be NULL */
	int dest_fd;
	struct layer_source data;    /* the package's tar of files */
	struct unpack_budget budget; /* of each pass over the tar */
	struct unpack_budget
		module_budget; /* of unpacking the modules, which the tar holds compressed */
	struct kernel_info info;
	bool have_kernel;
	char *config, *builtin; /* the package's boot/config-* and modules.builtin, or NULL */
	struct module_list modules;
	const struct module **order; /* the modules that a guest needs, in load order */
	size_t n_order;
	struct mvm_digest *digests; /* of the modules in `order`, once they are written */
	size_t n_written;
	int modules_fd; /* the folder "modules" in dest_fd */
};

typedef int (*file_fn)(struct import *im, struct archive *a, const char *path,
		       struct mvm_error *err);

static int write_file(int dir_fd, const char *name, const void *data, size_t len,
		      struct mvm_error *err)
{
	int r = file_create_at(dir_fd, name, data, len, 0444);
	return r < 0 ? mvm_error_set(err, r, "cannot write '%s': %s", name, strerror(-r)) : 0;
}

static int import_image(struct import *im, const void *data, size_t len, const char *name,
			struct mvm_error *err)
{
	AUTO_FREE char *elf = NULL;
	size_t elf_len;

	int r = kernel_image_unpack(data, len, name, &elf, &elf_len, err);
	if (r == 0)
		r = kernel_image_describe(elf, elf_len, name, &im->info, err);
	if (r == 0)
		r = write_file(im->dest_fd, "vmlinux", elf, elf_len, err);
	im->have_kernel = r == 0;
	return r;
}

/* "./lib/modules/..." and "/usr/lib/modules/..." as "lib/modules/...". */
static const char *plain_path(const char *path)
{
	while (*path == '/' || (path[0] == '.' && path[1] == '/'))
		path++;
	return str_starts(path, "usr/") ? path + 4 : path;
}

/* Call fn for every regular file that the package installs. */
static int walk_package(struct import *im, file_fn fn, struct mvm_error *err)
{
	AUTO_DONE(layer_stream) s = { 0 };
	struct unpack_budget budget = im->budget;
	struct archive_entry *e;

	int r = layer_stream_open(&s, &im->data, &budget, err);
	while (r >= 0 && (r = layer_stream_next(&s, &e, err)) > 0) {
		const char *path = archive_entry_pathname(e);
		struct unpack_budget ahead = budget; /* refuse a huge file before reading it */
		uint64_t size = archive_entry_size(e) > 0 ? (uint64_t)archive_entry_size(e) : 0;
		if (progress_go_on(im->progress, NULL) < 0)
			return mvm_error_cancelled(err, "the import");
		r = unpack_charge(&ahead, size, err);
		if (r < 0)
			return mvm_error_context(err, r, "'%s'", im->src_name);
		if (!path || archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e))
			continue;
		r = fn(im, s.tar.a, plain_path(path), err);
		if (r < 0)
			return layer_stream_error(&s, r, err);
	}
	return r < 0 ? r : layer_stream_finish(&s, err);
}

/* Take the version from the name of the kernel's module folder:
 * "lib/modules/6.1.0-56-cloud-amd64/kernel/...". */
static void take_version(struct import *im, const char *path)
{
	const char *release = path + strlen("lib/modules/");
	size_t len = strcspn(release, "/");

	if (len == 0 || len >= KERNEL_VERSION_SIZE)
		return;
	memcpy(im->info.version, release, len);
	im->info.version[len] = '\0';
}

static int read_module(struct import *im, struct archive *a, const char *path, char **ret,
		       size_t *ret_len, struct mvm_error *err)
{
	AUTO_FREE char *packed = NULL;
	size_t len = 0;

	int r = unpack_entry(a, path, MODULE_MAX, &packed, &len, err);
	if (r == 0 && strcmp(path + strlen(path) - 3, ".ko") != 0)
		return unpack_buf(packed, len, path, MODULE_MAX, ret, ret_len, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", im->src_name);
	*ret = TAKE_PTR(packed);
	*ret_len = len;
	return 0;
}

/* "lib/modules/<release>/modules.builtin" */
static bool is_builtin_list(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash && str_eq(slash, "/modules.builtin");
}

/* The first pass: import the kernel, and read each module's name and dependencies. */
static int look_at(struct import *im, struct archive *a, const char *path, struct mvm_error *err)
{
	AUTO_FREE char *data = NULL;
	size_t len = 0;

	if ((str_starts(path, "boot/vmlinuz") || str_starts(path, "boot/vmlinux")) &&
	    !im->have_kernel) {
		int r = unpack_entry(a, path, KERNEL_IMAGE_MAX, &data, &len, err);
		return r < 0 ? r : import_image(im, data, len, path, err);
	}
	if (str_starts(path, "boot/config-") && !im->config)
		return unpack_entry(a, path, KERNEL_CONFIG_MAX, &im->config, &len, err);
	if (!str_starts(path, "lib/modules/"))
		return 0;
	take_version(im, path);
	if (!im->builtin && is_builtin_list(path))
		return unpack_entry(a, path, KERNEL_CONFIG_MAX, &im->builtin, &len, err);
	if (!module_is_path(path))
		return 0;
	int r = read_module(im, a, path, &data, &len, err);
	if (r < 0)
		return r;
	r = unpack_charge(&im->module_budget, len, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", im->src_name);
	return module_add(&im->modules, data, len, path, err);
}

/* The second pass: import the modules that a guest needs. */
static int take_module(struct import *im, struct archive *a, const char *path,
		       struct mvm_error *err)
{
	char name[MODULE_NAME_SIZE + 4];

	for (size_t i = 0; i < im->n_order; i++) {
		AUTO_FREE char *data = NULL;
		size_t len = 0;
		if (strcmp(path, im->order[i]->path) != 0)
			continue;
		int r = read_module(im, a, path, &data, &len, err);
		if (r < 0)
			return r;
		snprintf(name, sizeof(name), "%s.ko", im->order[i]->name);
		sha256_buf(data, len, &im->digests[i]);
		im->n_written++;
		return write_file(im->modules_fd, name, data, len, err);
	}
	return 0;
}

static int import_package(struct import *im, int fd, struct mvm_error *err)
{
	struct deb_member m;

	int r = deb_find_data(fd, im->src_name, &m, err);
	if (r < 0)
		return r;
	im->data = (struct layer_source){
		.fd = fd, .offset = m.offset, .size = m.size, .name = im->src_name, .alone = true
	};
	im->budget.limit = unpack_limit(m.size);
	if (im->budget.limit > PACKAGE_MAX)
		im->budget.limit = PACKAGE_MAX;
	im->budget.reason = "kernel-too-large";
	im->module_budget = im->budget;
	r = walk_package(im, look_at, err);
	if (r < 0)
		return r;
	if (!im->have_kernel)
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no kernel: the package installs no /boot/vmlinuz",
				     im->src_name);
	r = module_order(&im->modules, &im->order, &im->n_order, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", im->src_name);
	if (im->config)
		kernel_features_config(im->config, im->info.features);
	if (im->builtin)
		kernel_features_builtin(im->builtin, im->info.features);
	kernel_features_modules(im->order, im->n_order, im->info.features);
	if (im->n_order == 0)
		return 0;
	im->digests = calloc(im->n_order, sizeof(*im->digests));
	if (!im->digests)
		return mvm_error_oom(err);
	im->modules_fd = dir_make_at(im->dest_fd, "modules");
	if (im->modules_fd < 0)
		return mvm_error_set(err, im->modules_fd, "cannot create 'modules': %s",
				     strerror(-im->modules_fd));
	r = walk_package(im, take_module, err);
	if (r == 0 && im->n_written != im->n_order)
		return mvm_error_set(err, -EBUSY, "'%s' changed while it was read", im->src_name);
	if (r == 0)
		r = module_write_order(im->modules_fd, im->order, im->digests, im->n_order,
				       &im->info.modules, err);
	im->info.n_modules = (unsigned)im->n_order;
	return r;
}

static int import_any(struct import *im, int fd, struct mvm_error *err)
{
	AUTO_FREE char *data = NULL;
	size_t len = 0;

	int r = deb_is(fd);
	if (r > 0)
		return import_package(im, fd, err);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", im->src_name, strerror(-r));
	r = file_read_fd(fd, KERNEL_IMAGE_MAX, &data, &len);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", im->src_name, strerror(-r));
	if (!kernel_image_is(data, len)) {
		r = mvm_error_set(err, -EINVAL,
				  "'%s' is no kernel: neither a Debian package, a bzImage nor an "
				  "ELF vmlinux",
				  im->src_name);
		return mvm_error_reason(err, r, "kernel-unknown", NULL);
	}
	return import_image(im, data, len, im->src_name, err);
}

int kernel_import(int src_fd, const char *src_name, int dest_dir_fd,
		  const struct mvm_progress *progress, struct kernel_info *ret,
		  struct mvm_error *err)
{
	struct import im = {
		.src_name = src_name, .dest_fd = dest_dir_fd, .modules_fd = -1, .progress = progress
	};

	int r = import_any(&im, src_fd, err);
	module_list_done(&im.modules);
	free(im.order);
	free(im.digests);
	free(im.config);
	free(im.builtin);
	if (im.modules_fd >= 0) {
		if (r == 0 && dir_sync(im.modules_fd) < 0)
			r = mvm_error_set(err, -errno, "cannot write 'modules': %s",
					  strerror(errno));
		close(im.modules_fd); /* synced */
	}
	if (r == 0)
		*ret = im.info;
	return r;
}
