/* SPDX-License-Identifier: Apache-2.0 */
#include "build/build.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/program.h"
#include "base/progress.h"
#include "base/str.h"
#include "build/build_cache.h"
#include "build/builder.h"
#include "build/kernels.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "image/image.h"
#include "image/initramfs.h"
#include "store/blob.h"
#include "store/turn.h"

#define AGENT_PROGRAM "mvm-agent"
#define FULL_BYTES    (1u << 20) /* with less free, a disk is full */

void build_artifacts_done(struct build_artifacts *a)
{
	free(a->info.builder);
	free(a->info.source_fingerprint);
	free(a->info.attribute);
	free(a->info.mvm_version);
	free(a->info.instance);
	free(a->info.base);
	free(a->flake_ref);
	mvm_run_done(&a->run);
	*a = (struct build_artifacts){ 0 };
}

/* The inputs of one build, known before mvm makes anything. */
struct inputs {
	const struct builder *builder;
	struct build_source source;
	struct build_lock lock;
	struct mvm_digest agent;
	struct mvm_kernel *kernel; /* NULL: the image must bring one */
	bool kernel_named;	   /* the template names it, so the image's own is not used */
	int kernel_fd;		   /* the kernel's folder */
	int agent_fd;
};

static void inputs_done(struct inputs *in)
{
	build_lock_done(&in->lock);
	mvm_kernel_free(in->kernel);
	if (in->kernel_fd >= 0)
		close(in->kernel_fd);
	if (in->agent_fd >= 0)
		close(in->agent_fd);
}
DEFINE_AUTO_DONE(inputs, inputs_done)

static int open_agent(struct inputs *in, struct mvm_error *err)
{
	AUTO_FREE char *path = NULL;
	int r = program_helper_path(AGENT_PROGRAM, &path);
	if (r < 0) {
		r = mvm_error_set(err, r, "cannot find %s", AGENT_PROGRAM);
		return mvm_error_hint(err, r,
				      "reinstall mvm, or set MVM_LIBEXEC_DIR to its folder");
	}
	in->agent_fd = open(path, O_RDONLY | O_CLOEXEC);
	r = in->agent_fd < 0 ? -errno : sha256_fd(in->agent_fd, NULL, &in->agent, NULL);
	return r < 0 ? mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r)) : 0;
}

/* Choose the kernel that the template names, else the image's own, else the only added one. */
static int find_kernel(struct store *s, const struct mvm_template_spec *spec, struct inputs *in,
		       struct mvm_error *err)
{
	in->kernel_named = spec->run.kernel != NULL;
	int r = kernels_find(s, spec->run.kernel, &in->kernel, &in->kernel_fd, err);
	bool choice = r == -ENOENT || r == -EINVAL; /* none, or more than one */
	return choice && !spec->run.kernel && in->builder->brings_kernel ? 0 : r;
}

static bool wants_image_initrd(const struct mvm_template_spec *spec)
{
	return spec->run.initrd == MVM_INITRD_IMAGE;
}

static int no_initrd(const struct builder *builder, struct mvm_error *err)
{
	int r = mvm_error_set(err, -ENOENT,
			      "initrd = \"image\" boots an initrd from the image, but %s",
			      builder->brings_initrd ? "this image has none"
						     : "only images of Nix flakes have one");
	return mvm_error_hint(err, r,
			      builder->brings_initrd
				      ? "put it into the output of the flake's package, as 'initrd'"
				      : "remove it from the config: mvm's own initrd, the default, "
					"boots any image");
}

/* Pick the initrd that this template boots. */
static int take_image_initrd(const struct inputs *in, struct build_artifacts *a,
			     struct mvm_error *err)
{
	if (!a->image_initrd_bytes)
		return no_initrd(in->builder, err);
	a->initrd = a->image_initrd;
	a->initrd_bytes = a->image_initrd_bytes;
	return 0;
}

static int find_inputs(struct store *s, const struct mvm_template_spec *spec,
		       const struct mvm_build_options *options, const struct mvm_progress *progress,
		       struct inputs *in, struct mvm_error *err)
{
	in->source = (struct build_source){
		.store = s,
		.template_id = spec->template_id,
		.allow_pre_build = options->allow_pre_build,
		.update_hash = options->update_hash,
		.max_image_bytes = options->max_image_bytes,
		.flake_ref = spec->flake_ref,
		.profile = spec->profile,
		.role = spec->role,
		.progress = progress,
	};
	int r = builder_refuse_remote(spec->flake_ref, err);
	if (r < 0)
		return r;
	builder_find(spec->flake_ref, &in->builder, &in->source.path);
	if (wants_image_initrd(spec) && !in->builder->brings_initrd)
		return no_initrd(in->builder, err);
	r = find_kernel(s, spec, in, err);
	if (r == 0)
		r = open_agent(in, err);
	if (r == 0 && in->builder->prepare && !options->dry_run)
		r = in->builder->prepare(&in->source, err);
	if (r == 0)
		r = in->builder->lock(&in->source, &in->lock, err);
	return r;
}

/* One digest over everything that decides the artifacts' bytes. */
static void fingerprint(const struct inputs *in, char ret[DIGEST_HEX_SIZE])
{
	struct mvm_digest digest;
	struct sha256 h;
	static const struct mvm_digest none = { 0 };
	const struct mvm_digest *parts[] = {
		&in->lock.lock,
		&in->lock.source,
		&in->agent,
		in->kernel ? &in->kernel->vmlinux : &none,
		in->kernel ? &in->kernel->modules : &none,
	};

	char head[64];
	int n = snprintf(head, sizeof(head), "mvm build 3 %s %u", in->builder->name,
			 IMAGE_FORMAT_VERSION);
	sha256_init(&h);
	sha256_add(&h, head, (size_t)n + 1); /* its NUL separates it from the next part */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(parts); i++)
		sha256_add(&h, parts[i]->bytes, sizeof(parts[i]->bytes));
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	if (epoch)
		sha256_add(&h, epoch, strlen(epoch));
	sha256_add(&h, "", 1);
	/* naming a kernel changes the result of an image that brings its own */
	sha256_add(&h, in->builder->brings_kernel && in->kernel_named ? "named" : "", 1);
	if (in->lock.attribute)
		sha256_add(&h, in->lock.attribute, strlen(in->lock.attribute));
	sha256_end(&h, &digest);
	digest_hex(&digest, ret);
}

static int fill_info(const struct inputs *in, const char *print, struct build_artifacts *ret,
		     struct mvm_error *err)
{
	bool failed = false;
	digest_hex(&in->lock.lock, ret->lock);
	ret->info.builder = str_dup(in->builder->name, &failed);
	ret->info.source_fingerprint = str_dup(print, &failed);
	ret->info.attribute = str_dup(in->lock.attribute, &failed);
	ret->info.mvm_version = str_dup(MVM_VERSION, &failed);
	return failed ? mvm_error_oom(err) : 0;
}

static int create_file(int dir_fd, const char *name, struct mvm_error *err)
{
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? mvm_error_set(err, -errno, "cannot create %s: %s", name, strerror(errno))
		      : fd;
}

/* -ENOSPC also says that a file system of a given size does not hold the image's files. */
static bool is_full(int dir_fd)
{
	struct statvfs st;
	return fstatvfs(dir_fd, &st) == 0 && st.f_bavail * st.f_frsize < FULL_BYTES;
}

static int make_rootfs(struct store *s, const struct inputs *in, const struct staging *st,
		       int work_fd, struct build_artifacts *ret, struct build_product *product,
		       struct mvm_error *err)
{
	AUTO_CLOSE int fd = create_file(st->fd, "rootfs.ext4", err);
	if (fd < 0)
		return store_mend(s, fd, err);
	int r = in->builder->build(&in->source, &in->lock, fd, work_fd, product, err);
	if (r < 0)
		return r == -ENOSPC && is_full(st->fd) ? store_mend(s, r, err) : r;
	ret->run = product->run;
	product->run = (struct mvm_run){ 0 };
	ret->nix_closure_bytes = product->nix_closure_bytes;
	ret->unpacked_bytes = product->unpacked_bytes;
	ret->pulled = product->pulled;
	if (product->has_initrd)
		r = store_blob_take(s, work_fd, BUILD_INITRD_NAME, &ret->image_initrd,
				    &ret->image_initrd_bytes, err);
	if (r < 0)
		return r;
	return store_blob_take(s, st->fd, "rootfs.ext4", &ret->rootfs, &ret->rootfs_bytes, err);
}

/* The kernel of one build: an added kernel, or the image's own. */
struct chosen_kernel {
	const struct mvm_kernel *added; /* NULL: the image's */
	int dir_fd;
	struct build_kernel can;
};

static int choose_kernel(struct store *s, const struct mvm_template_spec *spec, struct inputs *in,
			 const struct build_product *product, struct chosen_kernel *ret,
			 struct mvm_error *err)
{
	if (product->kernel_fd >= 0 && !spec->run.kernel) {
		*ret = (struct chosen_kernel){ .dir_fd = product->kernel_fd,
					       .can = { .known = true,
							.pvh = product->kernel.pvh } };
		memcpy(ret->can.features, product->kernel.features, MVM_KERNEL_FEATURES);
		return 0;
	}
	if (!in->kernel) { /* find_kernel() put the error off, in case the image had one */
		int r = kernels_find(s, NULL, &in->kernel, &in->kernel_fd, err);
		if (r < 0)
			return r;
	}
	*ret = (struct chosen_kernel){ .added = in->kernel,
				       .dir_fd = in->kernel_fd,
				       .can = { .known = true, .pvh = in->kernel->pvh } };
	memcpy(ret->can.features, in->kernel->features, sizeof(ret->can.features));
	return 0;
}

static int make_initrd(struct store *s, const struct inputs *in, const struct chosen_kernel *kernel,
		       const struct staging *st, struct build_artifacts *ret, struct mvm_error *err)
{
	AUTO_CLOSE int fd = create_file(st->fd, "initrd", err);
	if (fd < 0)
		return store_mend(s, fd, err);
	AUTO_CLOSE int modules_fd = dir_open_at(kernel->dir_fd, "modules");
	bool none = modules_fd == -ENOENT && !(kernel->added && kernel->added->n_modules);
	if (modules_fd < 0 && !none)
		return mvm_error_set(err, modules_fd, "kernel '%s': cannot open its modules: %s",
				     kernel->added ? kernel->added->name : "of the image",
				     strerror(-modules_fd));
	int r = initramfs_write(fd, in->agent_fd, modules_fd < 0 ? -1 : modules_fd, err);
	if (r < 0)
		return store_mend(s, r, err);
	return store_blob_take(s, st->fd, "initrd", &ret->initrd, &ret->initrd_bytes, err);
}

/* An added kernel is usually a blob already.  If prune took the blob, take the kernel's file. */
static int take_kernel(struct store *s, const struct chosen_kernel *kernel,
		       const struct staging *st, struct build_artifacts *ret, struct mvm_error *err)
{
	const struct mvm_kernel *added = kernel->added;

	if (added && store_blob_has(s, &added->vmlinux, &ret->vmlinux_bytes)) {
		ret->vmlinux = added->vmlinux;
		return 0;
	}
	int r = store_link_file(s, kernel->dir_fd, "vmlinux", st->fd, "vmlinux");
	if (r < 0)
		return mvm_error_set(err, r, "kernel '%s': cannot link its vmlinux: %s",
				     added ? added->name : "of the image", strerror(-r));
	r = store_blob_take(s, st->fd, "vmlinux", &ret->vmlinux, &ret->vmlinux_bytes, err);
	if (r >= 0 && added && !digest_equal(&ret->vmlinux, &added->vmlinux))
		return mvm_error_set(
			err, -EBADMSG,
			"kernel '%s' is damaged: its vmlinux has changed since it was added",
			added->name);
	return r < 0 ? r : 0;
}

static int make_all(struct store *s, const struct mvm_template_spec *spec, struct inputs *in,
		    struct build_artifacts *ret, struct mvm_error *err)
{
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_DONE(build_product) product = BUILD_PRODUCT_NONE;
	AUTO_DONE(progress_step) step = { 0 };
	struct chosen_kernel kernel;
	char size[24];

	int r = store_stage(s, &st, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int work_fd = dir_make_at(st.fd, "work");
	if (work_fd < 0) {
		mvm_error_set(err, work_fd, "cannot make a folder in staging: %s",
			      strerror(-work_fd));
		return store_mend(s, work_fd, err);
	}
	if (in->builder->fetch)
		r = in->builder->fetch(&in->source, &in->lock, work_fd, err);
	if (r < 0)
		return r;
	progress_begin(&step, in->source.progress, "root image from %s", in->source.path);
	in->source.step = &step;
	r = make_rootfs(s, in, &st, work_fd, ret, &product, err);
	in->source.step = NULL;
	if (r >= 0)
		r = choose_kernel(s, spec, in, &product, &kernel, err);
	if (r < 0)
		return r;
	ret->kernel = kernel.can;
	str_bytes(ret->rootfs_bytes, size, sizeof(size));
	progress_end(&step, "%s", size);

	progress_begin(&step, in->source.progress, "initramfs for kernel %s",
		       kernel.added ? kernel.added->version : "of the image");
	r = make_initrd(s, in, &kernel, &st, ret, err);
	if (r >= 0)
		r = take_kernel(s, &kernel, &st, ret, err);
	if (r < 0)
		return r;
	str_bytes(ret->initrd_bytes, size, sizeof(size));
	progress_end(&step, "%s", size);
	return 0;
}

/* Wait for another process that builds this source: its result is then in the cache. */
static int take_turn(struct store *s, const struct mvm_template_spec *spec, const char *key,
		     const struct mvm_build_options *options, const struct mvm_progress *progress,
		     struct turn *ret, struct mvm_error *err)
{
	char what[LOCK_HOLDER_SIZE], holder[LOCK_HOLDER_SIZE];

	snprintf(what, sizeof(what), "template build %s", spec->template_id);
	int r = turn_take(s, key, what, ret, holder);
	const char *who = r == -EBUSY && holder[0] ? holder : "(id unknown)";
	if (r == -EBUSY && options->no_wait) {
		r = mvm_error_set(err, r, "process %s is building the same source", who);
		return mvm_error_hint(err, r, "try again when that process has ended");
	}
	if (r == -EBUSY)
		progress_note(progress,
			      "%s: waiting for process %s, which builds from the same source",
			      spec->template_id, who);
	while (r == -EBUSY) {
		r = progress_check(progress, NULL);
		if (r == 0)
			r = turn_await(s, key, progress);
		if (r == 0)
			r = turn_take(s, key, what, ret, NULL);
	}
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "waiting for the other build");
	if (r >= 0)
		return 0;
	snprintf(what, sizeof(what), "build.%s", key);
	return store_lock_failed(s, STORE_LOCKS, what, r, err);
}

/* Take the artifacts from the cache or make them.  Returns 1 for the cache, 0 or -errno. */
static int get_or_make(struct store *s, const struct mvm_template_spec *spec, struct inputs *in,
		       const char *print, const struct mvm_build_options *options,
		       const struct mvm_progress *progress, struct build_artifacts *a,
		       struct mvm_error *err)
{
	AUTO_DONE(turn) turn = TURN_NONE;
	char key[MVM_CACHE_KEY_SIZE];
	bool look = !options->force && !in->lock.impure;

	mvm_template_cache_key(a->lock, spec->profile, spec->role, key);
	const struct build_wanted wanted = { wants_image_initrd(spec), options->max_image_bytes };
	int r = look ? build_cache_get(s, key, print, &wanted, a, err) : 0;
	if (r != 0 || options->dry_run)
		return r;
	if (in->lock.impure)
		return make_all(s, spec, in, a, err);
	r = take_turn(s, spec, key, options, progress, &turn, err);
	if (r == 0 && look)
		r = build_cache_get(s, key, print, &wanted, a, err);
	if (r != 0)
		return r;
	r = make_all(s, spec, in, a, err);
	return r < 0 ? r : build_cache_put(s, key, print, a, progress, err);
}

int build_artifacts(struct store *s, const struct mvm_template_spec *spec,
		    const struct mvm_build_options *options, const struct mvm_progress *progress,
		    struct build_artifacts *ret, struct mvm_error *err)
{
	AUTO_DONE(build_artifacts) a = { 0 };
	AUTO_DONE(inputs) in = { .kernel_fd = -1, .agent_fd = -1 };
	char print[DIGEST_HEX_SIZE];

	int r = find_inputs(s, spec, options, progress, &in, err);
	if (r == 0) {
		fingerprint(&in, print);
		r = fill_info(&in, print, &a, err);
	}
	if (r < 0)
		return r;
	a.impure = in.lock.impure;
	r = get_or_make(s, spec, &in, print, options, progress, &a, err);
	if (r > 0)
		progress_note(progress, "%s: source unchanged, artifacts taken from the cache",
			      spec->template_id);
	bool known = a.cached || !options->dry_run;
	if (r >= 0 && known && wants_image_initrd(spec))
		r = take_image_initrd(&in, &a, err);
	if (r < 0)
		return r;
	*ret = a;
	a = (struct build_artifacts){ 0 };
	return 0;
}
