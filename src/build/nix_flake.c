/* SPDX-License-Identifier: Apache-2.0 */
#include "build/nix_flake.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "build/nix_explain.h"
#include "codec/sha256.h"

#define FLAKE_LOCK	"flake.lock"
#define FLAKE_LOCK_MAX	((size_t)16 << 20)
#define PRE_BUILD	"pre-build.sh"
#define NAMES_SHOWN_MAX 300u /* bytes of the names in an error */

void nix_flake_done(struct nix_flake *f)
{
	nix_ref_done(&f->ref);
	nix_done(&f->nix);
	if (f->cwd_fd >= 0)
		close(f->cwd_fd);
}

static int open_log(struct nix_flake *f, int flags, struct mvm_error *err)
{
	AUTO_FREE char *name = str_printf(NIX_LOG_NAME, f->source->template_id);
	int logs_fd = store_dir_get(f->source->store, STORE_LOGS, err);
	if (logs_fd < 0)
		return logs_fd;
	f->nix.log_path = name ? str_printf("%s/logs/%s", store_path(f->source->store), name)
			       : NULL;
	if (!f->nix.log_path)
		return mvm_error_oom(err);
	f->nix.log_fd = openat(logs_fd, name,
			       O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags,
			       0600);
	return f->nix.log_fd < 0 ? mvm_error_set(err, -errno, "cannot write '%s': %s",
						 f->nix.log_path, strerror(errno))
				 : 0;
}

int nix_flake_open(const struct build_source *source, enum nix_log log, struct nix_flake *ret,
		   struct mvm_error *err)
{
	ret->source = source;
	ret->nix.progress = source->progress;
	int r = nix_ref_parse(source->flake_ref, &ret->ref, err);
	if (r == 0)
		r = nix_find(&ret->nix, err);
	if (r == 0)
		r = nix_ref_locate(&ret->ref, &ret->cwd_fd, err);
	ret->nix.fresh = ret->ref.git != NULL; /* see check_committed() */
	if (r < 0 || log == NIX_LOG_NONE)
		return r;
	return open_log(ret, log == NIX_LOG_NEW ? O_TRUNC : 0, err);
}

int nix_flake_failed(const struct nix_flake *f, const char *what, const struct nix_result *result,
		     struct mvm_error *err)
{
	return nix_explain(what, result->errors.data, f->nix.log_path, err);
}

/* ---- Which package ---- */

/* The names in packages.<system>; none when the flake has no packages for the system. */
static int list_packages(const struct nix_flake *f, const char *system, struct strv *ret,
			 struct mvm_error *err)
{
	AUTO_DONE(nix_result) result = { 0 };
	AUTO_FREE char *packages = nix_installable(&f->ref, system, NULL);
	const char *const args[] = { "eval",	"--json",
				     "--apply", "builtins.attrNames",
				     packages,	"--no-write-lock-file",
				     NULL };

	int r = packages ? nix_run(&f->nix, args, f->cwd_fd, &result, err) : mvm_error_oom(err);
	if (r < 0)
		return r;
	if (r == 0 && result.errors.data && strstr(result.errors.data, NIX_SAYS_NO_ATTRIBUTE))
		return 0;
	if (r == 0)
		return nix_flake_failed(f, "nix eval", &result, err);
	return nix_names_parse(result.out.data ? result.out.data : "", result.out.len, ret, err);
}

/* "a, b, c", cut where it gets long. */
static char *join(const struct strv *names)
{
	AUTO_DONE(strbuf) b = { 0 };

	for (size_t i = 0; i < names->n; i++) {
		if (b.len > NAMES_SHOWN_MAX) {
			strbuf_addf(&b, " and %zu more", names->n - i);
			break;
		}
		strbuf_addf(&b, "%s%s", i ? ", " : "", names->v[i]);
	}
	return strbuf_take(&b);
}

static int no_package(const struct nix_flake *f, const char *system, const struct strv *tried,
		      const struct strv *names, struct mvm_error *err)
{
	AUTO_FREE char *wanted = join(tried);
	AUTO_FREE char *there = names->n ? join(names) : strdup("nothing");

	if (!wanted || !there)
		return mvm_error_oom(err);
	int r = mvm_error_set(err, -ENOENT,
			      "the flake '%s' has no package for role '%s' and profile '%s'; "
			      "tried %s in packages.%s, which has %s",
			      f->ref.flake, f->source->role, f->source->profile, wanted, system,
			      there);
	return mvm_error_hint(err, r,
			      "give a package one of these names, or append #NAME to flake_ref");
}

int nix_flake_choose(const struct nix_flake *f, char **ret, struct mvm_error *err)
{
	AUTO_DONE(strv) candidates = { 0 };
	AUTO_DONE(strv) names = { 0 };
	char system[NIX_SYSTEM_SIZE];
	bool oom = false;

	nix_system(system);
	if (f->ref.attribute) {
		*ret = str_dup(f->ref.attribute, &oom);
		return oom ? mvm_error_oom(err) : 0;
	}
	nix_candidates(f->source->role, f->source->profile, &candidates);
	if (candidates.failed)
		return mvm_error_oom(err);
	int r = list_packages(f, system, &names, err);
	if (r < 0)
		return r;
	const char *name = nix_choose(&candidates, &names);
	if (!name)
		return no_package(f, system, &candidates, &names, err);
	*ret = str_dup(name, &oom);
	return oom ? mvm_error_oom(err) : 0;
}

char *nix_flake_installable(const struct nix_flake *f, const char *attribute)
{
	char system[NIX_SYSTEM_SIZE];

	nix_system(system);
	return f->ref.attribute ? str_printf("%s#%s", f->ref.arg, attribute)
				: nix_installable(&f->ref, system, attribute);
}

/* The user chose a missing attribute: list the existing ones. */
int nix_flake_explain(const struct nix_flake *f, const struct nix_result *result,
		      struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	char system[NIX_SYSTEM_SIZE];

	if (!f->ref.attribute || !result->errors.data ||
	    !strstr(result->errors.data, NIX_SAYS_NO_ATTRIBUTE))
		return nix_flake_failed(f, "nix build", result, err);
	nix_system(system);
	int r = list_packages(f, system, &names, err);
	AUTO_FREE char *there = names.n ? join(&names) : strdup("nothing");
	if (r < 0)
		return r;
	if (!there)
		return mvm_error_oom(err);
	r = mvm_error_set(err, -ENOENT, "the flake '%s' has no '%s'; packages.%s has %s",
			  f->ref.flake, f->ref.attribute, system, there);
	return mvm_error_hint(err, r, "run 'nix flake show' to list everything that the flake has");
}

/* ---- The lock ---- */

static int run_metadata(const struct nix_flake *f, const char *lock_flag, struct nix_result *result,
			struct mvm_error *err)
{
	const char *const args[] = { "flake", "metadata", "--json", lock_flag, f->ref.arg, NULL };
	return nix_run(&f->nix, args, f->cwd_fd, result, err);
}

/* Read flake.lock in the flake's source.  Returns 1, or 0 when it is missing. */
static int read_flake_lock(const struct nix_metadata *m, struct mvm_digest *ret,
			   struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	if (!m->source)
		return 0;
	AUTO_FREE char *path = str_printf("%s/%s%s" FLAKE_LOCK, m->source, m->dir ? m->dir : "",
					  m->dir ? "/" : "");
	if (!path)
		return mvm_error_oom(err);
	int r = file_read_at(AT_FDCWD, path, FLAKE_LOCK_MAX, &text, &len);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r));
	sha256_buf(text, len, ret);
	return 1;
}

/*
 * Refuse a repository with changes that Nix does not see.  If a URL has escapes, old versions of
 * Nix (2.8) fetch the last commit, as if the repository were remote.  Other versions read the
 * folder.
 */
static int check_committed(const struct nix_flake *f, const struct nix_metadata *m,
			   struct mvm_error *err)
{
	AUTO_DONE(nix_result) result = { 0 };
	AUTO_FREE char *git = NULL;

	if (!f->ref.git || !m->is_commit || process_find("git", &git) < 0)
		return 0;
	AUTO_CLOSE int dir_fd = open(f->ref.git, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return mvm_error_set(err, -errno, "cannot open '%s': %s", f->ref.git,
				     strerror(errno));
	static char command[] = "diff-index", quiet[] = "--quiet", head[] = "HEAD", end[] = "--";
	char *const argv[] = { git, command, quiet, head, end, NULL };
	int r = nix_run_program(&f->nix, argv, dir_fd, &result, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = mvm_error_set(
		err, -EINVAL,
		"the git repository '%s' has uncommitted changes, which this version of Nix "
		"does not see because of the characters in the path",
		f->ref.git);
	return mvm_error_hint(
		err, r, "commit them, or use only letters, digits, '-', '_' and '.' in the path");
}

int nix_flake_metadata(const struct nix_flake *f, struct nix_metadata *ret,
		       struct mvm_digest *ret_lock, struct mvm_error *err)
{
	AUTO_DONE(nix_result) first = { 0 };
	AUTO_DONE(nix_result) second = { 0 };
	const struct nix_result *result = &first;

	int r = run_metadata(f, "--no-update-lock-file", &first, err);
	bool unlocked = r == 0 && first.errors.data && strstr(first.errors.data, NIX_SAYS_OLD_LOCK);
	if (unlocked) {
		result = &second;
		r = run_metadata(f, "--no-write-lock-file", &second, err);
	}
	if (r < 0)
		return r;
	if (r == 0)
		return nix_flake_failed(f, "nix flake metadata", result, err);
	r = nix_metadata_parse(result->out.data ? result->out.data : "", result->out.len, ret, err);
	if (r == 0)
		r = check_committed(f, ret, err);
	if (r == 0)
		r = read_flake_lock(ret, ret_lock, err);
	if (r > 0 && unlocked)
		return nix_flake_failed(f, "nix flake metadata", &first, err);
	if (r == 0)
		sha256_buf(ret->locks, strlen(ret->locks), ret_lock);
	if (r == 0 && unlocked)
		progress_note(f->source->progress,
			      "'%s' has inputs but no " FLAKE_LOCK ", so they may change: run "
			      "'nix flake lock' in its folder",
			      f->ref.flake);
	return r < 0 ? r : 0;
}

void nix_flake_digest(const struct nix_metadata *m, struct mvm_digest *ret)
{
	char system[NIX_SYSTEM_SIZE];
	const char *const parts[] = { "nix 1", system, m->identity, m->dir ? m->dir : "",
				      m->locks };
	struct sha256 h;

	*ret = (struct mvm_digest){ 0 };
	if (!m->identity)
		return;
	nix_system(system);
	sha256_init(&h);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(parts); i++)
		sha256_add(&h, parts[i], strlen(parts[i]) + 1);
	sha256_end(&h, ret);
}

/* ---- pre-build.sh ---- */

int nix_flake_pre_build(const struct nix_flake *f, char **ret, struct mvm_error *err)
{
	struct stat st;

	*ret = NULL;
	if (!f->ref.folder)
		return 0;
	AUTO_FREE char *path = str_printf("%s/" PRE_BUILD, f->ref.folder);
	if (!path)
		return mvm_error_oom(err);
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
		*ret = TAKE_PTR(path);
	return 0;
}
