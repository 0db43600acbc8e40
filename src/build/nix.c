/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "build/builder.h"
#include "build/nix_flake.h"
#include "build/nix_output.h"
#include "codec/sha256.h"

/*
 * Nix flakes.  Nix locks and builds the flake; mvm chooses the package and takes the result.  mvm
 * writes nothing into the user's flake, except through --update-hash or pre-build.sh.
 */

static int nix_lock(const struct build_source *source, struct build_lock *ret,
		    struct mvm_error *err)
{
	AUTO_DONE(nix_flake) f = NIX_FLAKE_NONE;
	AUTO_DONE(nix_metadata) metadata = { 0 };
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_FREE char *pre_build = NULL;

	int r = nix_flake_open(source, NIX_LOG_NONE, &f, err);
	if (r < 0)
		return r;
	progress_begin(&step, source->progress, "evaluating %s", f.ref.flake);
	r = nix_flake_metadata(&f, &metadata, &ret->lock, err);
	if (r == 0)
		r = nix_flake_choose(&f, &ret->attribute, err);
	if (r == 0)
		r = nix_flake_pre_build(&f, &pre_build, err);
	if (r < 0)
		return r;
	nix_flake_digest(&metadata, &ret->source);
	ret->impure = !metadata.identity || (pre_build && source->allow_pre_build);
	progress_end(&step, "%s", ret->attribute);
	return 0;
}

static int check_source(const struct nix_flake *f, const struct build_lock *lock,
			struct mvm_error *err)
{
	AUTO_DONE(nix_metadata) now = { 0 };
	struct mvm_digest source, file;

	int r = nix_flake_metadata(f, &now, &file, err);
	if (r < 0)
		return r;
	nix_flake_digest(&now, &source);
	return digest_equal(&source, &lock->source) ? 0 : build_source_changed(f->source, err);
}

/* A link in the staging folder keeps the result from Nix's garbage collection. */
static int run_build(const struct nix_flake *f, const char *attribute, int work_fd, char **ret_path,
		     struct mvm_error *err)
{
	AUTO_DONE(nix_result) result = { 0 };
	AUTO_FREE char *what = nix_flake_installable(f, attribute);
	char link[FD_PATH_SIZE], folder[PATH_MAX];

	fd_path(work_fd, link);
	ssize_t n = readlink(link, folder, sizeof(folder) - 1);
	if (n < 0)
		return mvm_error_set(err, -errno, "cannot find the staging folder: %s",
				     strerror(errno));
	folder[n] = '\0';
	AUTO_FREE char *result_link = str_printf("%s/result", folder);
	if (!what || !result_link)
		return mvm_error_oom(err);
	const char *const args[] = { "build",	   "--json",	"-L", "--no-write-lock-file",
				     "--out-link", result_link, what, NULL };
	int r = nix_run(&f->nix, args, f->cwd_fd, &result, err);
	if (r < 0)
		return r;
	if (r == 0)
		return nix_flake_explain(f, &result, err);
	return nix_build_parse(result.out.data ? result.out.data : "", result.out.len, ret_path,
			       err);
}

static int read_closure(const struct nix_flake *f, const char *path, uint64_t *ret_bytes,
			struct mvm_error *err)
{
	AUTO_DONE(nix_result) result = { 0 };
	const char *const args[] = { "path-info", "-S", "--json", path, NULL };

	int r = nix_run(&f->nix, args, AT_FDCWD, &result, err);
	if (r < 0)
		return r;
	if (r == 0)
		return nix_flake_failed(f, "nix path-info", &result, err);
	return nix_closure_parse(result.out.data ? result.out.data : "", result.out.len, ret_bytes,
				 err);
}

static int nix_build(const struct build_source *source, const struct build_lock *lock, int out_fd,
		     int work_fd, struct build_product *ret, struct mvm_error *err)
{
	const struct image_options options = { .step = source->step,
					       .max_bytes = source->max_image_bytes,
					       .ret_unpacked_bytes = &ret->unpacked_bytes };
	AUTO_DONE(nix_flake) f = NIX_FLAKE_NONE;
	AUTO_FREE char *path = NULL;

	bool prepared = source->allow_pre_build || source->update_hash;
	int r = nix_flake_open(source, prepared ? NIX_LOG_MORE : NIX_LOG_NEW, &f, err);
	if (r == 0)
		r = run_build(&f, lock->attribute, work_fd, &path, err);
	if (r == 0)
		r = check_source(&f, lock, err);
	if (r == 0)
		r = read_closure(&f, path, &ret->nix_closure_bytes, err);
	if (r >= 0)
		r = nix_output_take(path, out_fd, work_fd, &options, ret, err);
	return r;
}

const struct builder nix_builder = {
	.name = "nix",
	.prefix = "",
	.brings_kernel = true,
	.brings_initrd = true,
	.prepare = nix_prepare,
	.lock = nix_lock,
	.build = nix_build,
};
