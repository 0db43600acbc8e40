/* SPDX-License-Identifier: Apache-2.0 */
/* The steps that may change a flake before the build: pre-build.sh and --update-hash. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "build/nix_explain.h"
#include "build/nix_flake.h"
#include "build/nix_hash.h"

#define HASH_UPDATES 32u /* in one build */

static int run_pre_build(const struct nix_flake *f, struct mvm_error *err)
{
	AUTO_DONE(nix_result) result = { 0 };
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_FREE char *path = NULL;

	int r = nix_flake_pre_build(f, &path, err);
	if (r < 0)
		return r;
	if (!path) {
		if (f->source->allow_pre_build)
			progress_note(f->source->progress, "'%s' has no pre-build.sh to run",
				      f->ref.flake);
		return 0;
	}
	if (!f->source->allow_pre_build) {
		progress_note(f->source->progress, "'%s' was not run: allow_pre_build is not set",
			      path);
		return 0;
	}
	progress_begin(&step, f->source->progress, "running %s", path);
	AUTO_CLOSE int dir_fd = open(f->ref.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return mvm_error_set(err, -errno, "cannot open '%s': %s", f->ref.folder,
				     strerror(errno));
	char *const argv[] = { path, NULL };
	r = nix_run_program(&f->nix, argv, dir_fd, &result, err);
	if (r < 0)
		return r;
	if (r == 0)
		return nix_flake_failed(f, "pre-build.sh", &result, err);
	progress_end(&step, NULL);
	return 0;
}

/* Build until no hash is wrong any more.  Each round takes the hash that Nix found. */
static int build_with_hashes(const struct nix_flake *f, const char *what,
			     struct nix_hash_edit *edit, struct mvm_error *err)
{
	const char *const args[] = {
		"build", "-L", "--no-link", "--no-write-lock-file", what, NULL
	};
	char specified[NIX_HASH_SIZE], got[NIX_HASH_SIZE];

	for (unsigned i = 0; i < HASH_UPDATES; i++) {
		AUTO_DONE(nix_result) result = { 0 };
		int r = nix_run(&f->nix, args, f->cwd_fd, &result, err);
		if (r != 0)
			return r < 0 ? r : 0;
		if (!nix_wrong_hash(result.errors.data, specified, got))
			return nix_flake_explain(f, &result, err);
		r = nix_hash_update(edit, specified, got, err);
		if (r < 0)
			return r;
		progress_note(f->source->progress, "flake.nix: %s is now %s", specified, got);
	}
	return mvm_error_set(err, -EINVAL, "more than %u hashes of '%s' are wrong", HASH_UPDATES,
			     f->ref.flake);
}

/*
 * Block the signals that would end this process; *ret_old gets the earlier mask.  Returns a
 * descriptor that is readable once such a signal has come, or -errno.
 */
static int hold_signals(sigset_t *ret_old)
{
	static const int ends[] = { SIGHUP, SIGINT, SIGTERM };
	struct sigaction action;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(ends); i++) {
		/* leave an ignored signal alone: if it were blocked, it would reach the descriptor,
		 * and nohup(1) would no longer work */
		if (sigaction(ends[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&set, ends[i]);
	}
	AUTO_CLOSE int fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = pthread_sigmask(SIG_BLOCK, &set, ret_old);
	return r ? -r : TAKE_FD(fd);
}

/* Run build_with_hashes(), and put flake.nix back unless it succeeds.  A signal that ends the build
 * takes effect after that. */
static int build_or_restore(struct nix_flake *f, const char *what, struct nix_hash_edit *edit,
			    struct mvm_error *err)
{
	struct mvm_error restore_err;
	sigset_t old;

	AUTO_CLOSE int signals = hold_signals(&old);
	if (signals < 0)
		return mvm_error_set(err, signals, "cannot wait for signals: %s",
				     strerror(-signals));
	f->nix.stop_fd = signals;
	int r = build_with_hashes(f, what, edit, err);
	f->nix.stop_fd = -1;
	if (r < 0 && nix_hash_restore(edit, &restore_err) < 0)
		progress_note(f->source->progress, "flake.nix stays changed: %s", restore_err.text);
	pthread_sigmask(SIG_SETMASK, &old, NULL); /* cannot fail with a valid mask */
	return r;
}

static int update_hashes(struct nix_flake *f, struct mvm_error *err)
{
	AUTO_DONE(nix_hash_edit) edit = NIX_HASH_EDIT_NONE;
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_FREE char *attribute = NULL;

	if (!f->ref.folder)
		return mvm_error_set(err, -EINVAL,
				     "cannot update hashes: '%s' is not a flake on this machine",
				     f->ref.flake);
	progress_begin(&step, f->source->progress, "hashes of %s", f->ref.flake);
	int r = nix_flake_choose(f, &attribute, err);
	if (r == 0)
		r = nix_hash_open(f->ref.folder, &edit, err);
	if (r < 0)
		return r;
	AUTO_FREE char *what = nix_flake_installable(f, attribute);
	r = what ? build_or_restore(f, what, &edit, err) : mvm_error_oom(err);
	if (r < 0)
		return r;
	if (edit.changes)
		progress_end(&step, "%u changed", edit.changes);
	else
		progress_end(&step, "none changed");
	return 0;
}

int nix_prepare(const struct build_source *source, struct mvm_error *err)
{
	AUTO_DONE(nix_flake) f = NIX_FLAKE_NONE;

	bool changes = source->allow_pre_build || source->update_hash;
	int r = nix_flake_open(source, changes ? NIX_LOG_NEW : NIX_LOG_NONE, &f, err);
	if (r == 0)
		r = run_pre_build(&f, err);
	if (r == 0 && source->update_hash)
		r = update_hashes(&f, err);
	return r;
}
