/* SPDX-License-Identifier: Apache-2.0 */
#include "build/kernels.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/own.h"
#include "base/str.h"
#include "build/kernel_folder.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "image/kernel.h"
#include "model/name.h"
#include "model/read.h"
#include "store/blob.h"

#if defined(__x86_64__)
#define GUEST_ARCH "x86_64"
#elif defined(__aarch64__)
#define GUEST_ARCH "aarch64"
#else
#error "name this architecture as struct kernel_info does"
#endif

DEFINE_AUTO(mvm_kernel, mvm_kernel_free)

void mvm_kernel_free(struct mvm_kernel *k)
{
	if (!k)
		return;
	free(k->name);
	free(k->version);
	free(k->added_at);
	free(k->problem);
	free(k);
}
DEFINE_LIST_FREE(mvm_kernel_list_free, mvm_kernel, mvm_kernel_free)

/* source: NULL: none */
static int write_record(int dir_fd, const struct kernel_info *info, const char *name,
			const struct mvm_digest *source, struct mvm_error *err)
{
	struct json_out out = { 0 };
	AUTO_FREE char *text = NULL;
	char vmlinux[65], modules[65], from[65];

	digest_hex(&info->vmlinux, vmlinux);
	digest_hex(&info->modules, modules);
	json_t *o = json_new(&out);
	json_put_u64(&out, o, "schema_version", MVM_SCHEMA_VERSION);
	json_put_string(&out, o, "name", name);
	json_put_string(&out, o, "version", info->version);
	json_put_time(&out, o, "added_at", clock_wall_ns() / NS_PER_S);
	json_put_string(&out, o, "vmlinux_sha256", vmlinux);
	json_put_u64(&out, o, "vmlinux_bytes", info->vmlinux_bytes);
	json_put_string(&out, o, "modules_sha256", modules);
	json_put_u64(&out, o, "modules", info->n_modules);
	json_put(&out, o, "pvh", json_boolean(info->pvh));
	if (source) {
		digest_hex(source, from);
		json_put_string(&out, o, "artifact_sha256", from);
	}
	json_t *features = json_new(&out);
	for (unsigned i = 0; i < MVM_KERNEL_FEATURES; i++)
		json_put_string(&out, features, mvm_kernel_feature_name(i),
				mvm_kernel_has_name(info->features[i]));
	json_put(&out, o, "features", features);
	int r = json_out_text(&out, o, JSON_TEXT_PRETTY, &text, err);
	if (r < 0)
		return r;
	r = file_create_at(dir_fd, KERNEL_JSON, text, strlen(text), 0444);
	return r < 0 ? mvm_error_set(err, r, "cannot write %s: %s", KERNEL_JSON, strerror(-r)) : 0;
}

static int get_digest(const struct json_at *at, const char *key, enum json_presence presence,
		      struct mvm_digest *ret, struct mvm_error *err)
{
	AUTO_FREE char *hex = NULL;
	int r = json_get_string(at, key, presence, &hex, err);
	if (r > 0 && digest_parse(hex, ret) < 0)
		return json_error(at, key, err, "expected 64 hex digits");
	return r;
}

/* Read the features.  Records of older versions of mvm have none, records of newer ones may have
 * more. */
static int get_features(const struct json_at *root, uint8_t ret[MVM_KERNEL_FEATURES],
			struct mvm_error *err)
{
	struct json_at at;
	int r = json_get_object(root, "features", JSON_OPTIONAL, &at, err);

	for (unsigned i = 0; r > 0 && i < MVM_KERNEL_FEATURES; i++) {
		AUTO_FREE char *word = NULL;
		int found = json_get_string(&at, mvm_kernel_feature_name(i), JSON_OPTIONAL, &word,
					    err);
		if (found < 0)
			return found;
		for (uint8_t has = 0; found && mvm_kernel_has_name(has); has++) {
			if (str_eq(word, mvm_kernel_has_name(has)))
				ret[i] = has;
		}
	}
	return r;
}

/* ret_source: all zero: it came from no artifact */
static int read_record(int dir_fd, const char *name, struct mvm_kernel **ret,
		       struct mvm_digest *ret_source, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	AUTO(mvm_kernel) k = calloc(1, sizeof(*k));
	struct json_at root;
	struct mvm_digest source = { 0 };
	size_t len;
	uint64_t n_modules = 0;
	uint32_t schema;

	if (!k)
		return mvm_error_oom(err);
	int r = file_read_at(dir_fd, KERNEL_JSON, KERNEL_JSON_MAX, &text, &len);
	if (r < 0)
		return mvm_error_set(err, r == -ENOENT ? -EBADMSG : r, "cannot read %s: %s",
				     KERNEL_JSON, strerror(-r));
	r = json_read(text, len, KERNEL_JSON, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, KERNEL_JSON, doc);
	r = read_schema_version(&root, &schema, err);
	if (r >= 0)
		r = json_get_string(&root, "version", JSON_REQUIRED, &k->version, err);
	if (r >= 0)
		r = json_get_string(&root, "added_at", JSON_REQUIRED, &k->added_at, err);
	if (r >= 0)
		r = get_digest(&root, "vmlinux_sha256", JSON_REQUIRED, &k->vmlinux, err);
	if (r >= 0)
		r = get_digest(&root, "modules_sha256", JSON_REQUIRED, &k->modules, err);
	if (r >= 0)
		r = get_digest(&root, "artifact_sha256", JSON_OPTIONAL, &source, err);
	if (r >= 0)
		r = json_get_u64(&root, "vmlinux_bytes", 0, JSON_U64_MAX, JSON_REQUIRED,
				 &k->vmlinux_bytes, err);
	if (r >= 0)
		r = json_get_u64(&root, "modules", 0, 10000, JSON_REQUIRED, &n_modules, err);
	if (r >= 0)
		r = json_get_bool(&root, "pvh", JSON_REQUIRED, &k->pvh, err);
	if (r >= 0)
		r = get_features(&root, k->features, err);
	if (r < 0)
		return r;
	k->n_modules = (uint32_t)n_modules;
	k->name = strdup(name);
	if (!k->name)
		return mvm_error_oom(err);
	*ret = TAKE_PTR(k);
	*ret_source = source;
	return 0;
}

/* Open a kernel's folder and read its record. */
static int load_with_source(struct store *s, const char *name, struct mvm_kernel **ret,
			    struct mvm_digest *ret_source, int *ret_dir_fd, struct mvm_error *err)
{
	int r = name_check(NAME_KERNEL, name, err);
	if (r < 0)
		return r;
	int kernels_fd = store_dir(s, STORE_KERNELS);
	if (kernels_fd < 0 && !store_dir_is_missing(kernels_fd))
		return store_dir_failed(s, STORE_KERNELS, kernels_fd, err);
	AUTO_CLOSE int dir_fd = kernels_fd < 0 ? -ENOENT : dir_open_at(kernels_fd, name);
	if (dir_fd == -ENOENT) {
		r = mvm_error_set(err, -ENOENT, "no kernel '%s'", name);
		return mvm_error_reason(err, r, "no-kernel", name);
	}
	if (dir_fd < 0)
		return mvm_error_set(err, dir_fd, "kernel '%s': %s", name, strerror(-dir_fd));
	r = read_record(dir_fd, name, ret, ret_source, err);
	if (r == -EBADMSG)
		r = mvm_error_reason(err, r, "kernel-damaged", name);
	if (r < 0)
		return mvm_error_context(err, r, "kernel '%s'", name);
	if (ret_dir_fd)
		*ret_dir_fd = TAKE_FD(dir_fd);
	return 0;
}

static int load(struct store *s, const char *name, struct mvm_kernel **ret, int *ret_dir_fd,
		struct mvm_error *err)
{
	struct mvm_digest source;
	return load_with_source(s, name, ret, &source, ret_dir_fd, err);
}

static bool same_kernel(const struct mvm_kernel *k, const struct kernel_info *info)
{
	return digest_equal(&k->vmlinux, &info->vmlinux) &&
	       digest_equal(&k->modules, &info->modules);
}

static bool same_features(const struct mvm_kernel *k, const struct kernel_info *info)
{
	return memcmp(k->features, info->features, sizeof(info->features)) == 0;
}

/* May the kernel take this name?  Returns 1, 0 if this kernel has the name already, or -EEXIST if
 * another kernel has it. */
static int check_existing(struct store *s, const char *name, const struct kernel_info *info,
			  bool force, struct mvm_error *err)
{
	AUTO(mvm_kernel) old = NULL;
	int r = load(s, name, &old, NULL, NULL);
	if (r == -ENOENT)
		return 1;
	/* replace a kernel by itself if an older mvm found fewer features */
	bool same = r == 0 && same_kernel(old, info);
	if (same && same_features(old, info))
		return 0;
	int may_go = r == 0 && !same && !force
			     ? 0
			     : kernel_folder_may_go(store_dir(s, STORE_KERNELS), name, err);
	if (may_go < 0)
		return may_go;
	if (same || force)
		return 1;
	r = mvm_error_set(err, -EEXIST, "another kernel has the name '%s'%s%s", name,
			  old ? ", version " : "", old ? old->version : "");
	return mvm_error_reason(err, r, "kernel-exists", name);
}

static int import(struct store *s, int fd, const char *src_name, int staging_fd,
		  const struct mvm_progress *progress, struct kernel_info *info,
		  struct mvm_error *err)
{
	struct mvm_digest digest;
	int r = kernel_import(fd, src_name, staging_fd, progress, info, err);
	if (r < 0)
		return r;
	if (!str_eq(info->arch, GUEST_ARCH))
		return mvm_error_set(err, -EINVAL,
				     "'%s' is a kernel for %s, and guests here are " GUEST_ARCH,
				     src_name, info->arch);
	/* make it a blob now, so that builds only link it */
	return store_blob_take(s, staging_fd, "vmlinux", &digest, NULL, err);
}

/* Publish by one rename.  If a kernel has that name, rename exchanges them, and the old one is
 * removed with the staging folder. */
static int publish(struct store *s, const struct staging *st, const char *name,
		   struct mvm_error *err)
{
	int kernels_fd = store_dir_get(s, STORE_KERNELS, err);
	if (kernels_fd < 0)
		return kernels_fd;
	int r = dir_sync(st->fd);
	if (r == 0 && renameat2(st->tmp_fd, st->name, kernels_fd, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == -EEXIST)
		r = renameat2(st->tmp_fd, st->name, kernels_fd, name, RENAME_EXCHANGE) < 0 ? -errno
											   : 0;
	if (r == 0)
		r = dir_sync(kernels_fd);
	if (r < 0)
		mvm_error_set(err, r, "cannot publish kernel '%s': %s", name, strerror(-r));
	return store_mend(s, r, err);
}

int kernels_add(struct store *s, const char *path, const char *name, bool force,
		const struct mvm_progress *progress, struct mvm_kernel **ret, struct mvm_error *err)
{
	int r = name ? name_check(NAME_KERNEL, name, err) : 0;
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = file_open(path);
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot open '%s': %s", path,
				     fd == -EINVAL ? "it is no regular file" : strerror(-fd));
	return kernels_add_file(s, fd, path, NULL, name, force, progress, ret, err);
}

int kernels_add_file(struct store *s, int fd, const char *src_name, const struct mvm_digest *source,
		     const char *name, bool force, const struct mvm_progress *progress,
		     struct mvm_kernel **ret, struct mvm_error *err)
{
	AUTO_DONE(staging) st = STAGING_NONE;
	struct kernel_info info = { 0 };

	int r = name ? name_check(NAME_KERNEL, name, err) : 0;
	if (r == 0)
		r = store_stage(s, &st, err);
	if (r == 0)
		r = import(s, fd, src_name, st.fd, progress, &info, err);
	if (r < 0)
		return store_mend(s, r, err);
	if (!name) {
		name = info.version;
		if (!name_valid(NAME_KERNEL, name)) {
			r = mvm_error_set(err, -EINVAL,
					  "cannot name the kernel: '%s' does not tell its version",
					  src_name);
			return mvm_error_reason(err, r, "kernel-without-name", NULL);
		}
	}
	int added = check_existing(s, name, &info, force, err);
	if (added < 0)
		return added;
	if (added) {
		r = store_mend(s, write_record(st.fd, &info, name, source, err), err);
		if (r == 0)
			r = publish(s, &st, name, err);
		if (r < 0)
			return r;
	}
	if (ret)
		r = load(s, name, ret, NULL, err);
	return r < 0 ? r : added;
}

/* Is this kernel what an import of the artifact would give?  An import may find a feature that a
 * record does not know. */
static bool is_from(struct store *s, const char *name, const struct mvm_digest *source,
		    struct mvm_kernel **ret)
{
	AUTO(mvm_kernel) k = NULL;
	struct mvm_digest from;

	if (load_with_source(s, name, &k, &from, NULL, NULL) < 0 || !digest_equal(&from, source) ||
	    memchr(k->features, MVM_KERNEL_UNKNOWN, MVM_KERNEL_FEATURES))
		return false;
	*ret = TAKE_PTR(k);
	return true;
}

bool kernels_find_source(struct store *s, const struct mvm_digest *source, const char *name,
			 struct mvm_kernel **ret)
{
	AUTO_DONE(strv) names = { 0 };

	if (name)
		return is_from(s, name, source, ret);
	if (store_dir_names(s, STORE_KERNELS, &names, NULL) < 0)
		return false;
	for (size_t i = 0; i < names.n; i++) {
		AUTO(mvm_kernel) k = NULL;
		if (!is_from(s, names.v[i], source, &k) || !str_eq(k->name, k->version))
			continue;
		*ret = TAKE_PTR(k);
		return true;
	}
	return false;
}

/* Make the list's entry of a kernel that load() could not read; r: load()'s result.  Returns 1, 0
 * for a folder that is no kernel of mvm or has just been removed, or -ENOMEM. */
static int unreadable(struct store *s, const char *name, int r, const struct mvm_error *why,
		      struct mvm_kernel **ret)
{
	if (r == -ENOMEM)
		return r;
	if (!name_valid(NAME_KERNEL, name) ||
	    !kernel_folder_is_own(store_dir(s, STORE_KERNELS), name))
		return 0;
	AUTO(mvm_kernel) k = calloc(1, sizeof(*k));
	bool failed = !k;
	if (k) {
		k->name = str_dup(name, &failed);
		k->version = str_dup("", &failed);
		k->added_at = str_dup("", &failed);
		k->problem = str_dup(why->text, &failed);
	}
	if (failed)
		return -ENOMEM;
	*ret = TAKE_PTR(k);
	return 1;
}

int kernels_list(struct store *s, struct mvm_kernel ***ret, size_t *ret_n, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	int r = store_dir_names(s, STORE_KERNELS, &names, err);
	if (r < 0)
		return r;

	struct mvm_kernel **list = calloc(names.n + 1, sizeof(*list));
	size_t n = 0;
	if (!list)
		return mvm_error_oom(err);
	for (size_t i = 0; i < names.n; i++) {
		struct mvm_error why;
		r = load(s, names.v[i], &list[n], NULL, &why);
		r = r < 0 ? unreadable(s, names.v[i], r, &why, &list[n]) : 1;
		if (r < 0) {
			mvm_kernel_list_free(list, n);
			return mvm_error_oom(err);
		}
		n += r > 0;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

int kernels_find(struct store *s, const char *name, struct mvm_kernel **ret, int *ret_dir_fd,
		 struct mvm_error *err)
{
	if (name)
		return load(s, name, ret, ret_dir_fd, err);

	struct mvm_kernel **list;
	size_t n;
	int r = kernels_list(s, &list, &n, err);
	if (r < 0)
		return r;
	if (n == 0) {
		r = mvm_error_set(err, -ENOENT, "the image has no kernel, and none was added");
		r = mvm_error_reason(err, r, "kernel-needed", NULL);
	} else if (n > 1) {
		r = mvm_error_set(err, -EINVAL, "there are %zu kernels and the template names none",
				  n);
		r = mvm_error_reason(err, r, "kernel-ambiguous", NULL);
	} else {
		assert(list[0]);
		r = load(s, list[0]->name, ret, ret_dir_fd, err);
	}
	mvm_kernel_list_free(list, n);
	return r;
}

int kernels_remove(struct store *s, const char *name, struct mvm_error *err)
{
	AUTO(mvm_kernel) k = NULL;
	struct mvm_error why;
	int r = load(s, name, &k, NULL, &why);
	if (r < 0 && r != -EBADMSG) { /* a damaged kernel can be removed */
		if (err)
			*err = why;
		return r;
	}
	int kernels_fd = store_dir_get(s, STORE_KERNELS, err);
	if (kernels_fd < 0)
		return kernels_fd;
	r = kernel_folder_may_go(kernels_fd, name, err);
	if (r < 0)
		return r;
	/* one rename hides the kernel before the removal: a crash leaves staging, which is swept */
	char staged[STAGING_NAME_SIZE];
	r = store_stage_away(s, kernels_fd, name, staged);
	if (r < 0) {
		mvm_error_set(err, r, "cannot remove kernel '%s': %s", name, strerror(-r));
		return store_mend(s, r, err);
	}
	r = dir_sync(kernels_fd);
	store_remove_staged(s, staged);
	if (r >= 0)
		return 0;
	mvm_error_set(err, r, "cannot remove kernel '%s': %s", name, strerror(-r));
	return store_mend(s, r, err);
}
