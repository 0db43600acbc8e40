/* SPDX-License-Identifier: Apache-2.0 */
/* Debian's cloud kernel by apt: nothing is installed, and no state of this host's apt changes. */
#include <errno.h>
#include <fcntl.h>
#include <mvm/kernel.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/parse.h"
#include "base/progress.h"
#include "base/str.h"
#include "build/kernels.h"
#include "model/name.h"
#include "start/context.h"
#include "vmm/ask.h"

#define ASK_S	   60
#define DOWNLOAD_S 1800

#define META_PREFIX    "linux-image-cloud-"
#define PACKAGE_PREFIX "linux-image-"
#if defined(__x86_64__)
#define META_PACKAGE META_PREFIX "amd64"
#elif defined(__aarch64__)
#define META_PACKAGE META_PREFIX "arm64"
#else
#error "which kernel does Debian have for guests of this architecture?"
#endif

#define LISTS "lists"

static char *arg(const char *s)
{
	return (char *)s; /* execve(2) wants a char *, but does not write to it */
}

/*
 * Run one of apt's programs in dir_fd, and put its output into ret.  option, package: may be NULL.
 * If dir_fd has lists of packages, apt uses those instead of the host's.  Returns its wait status
 * or an error.
 */
static int apt(const char *program, const char *option, const char *verb, const char *package,
	       int dir_fd, unsigned seconds, const struct mvm_progress *progress,
	       char ret[ASK_TEXT_MAX], struct mvm_error *err)
{
	/* the user _apt, who downloads for root, may not enter the data folder */
	static const char *const common[] = { "-qq", "-o", "APT::Sandbox::User=root" };
	static const char *const own_lists[] = { "-o", ("Dir::State::lists=./" LISTS),
						 "-o", "Dir::Cache::pkgcache=",
						 "-o", "Dir::Cache::srcpkgcache=" };
	char *argv[16] = { arg(program) };
	size_t n = 1;

	for (size_t i = 0; i < MVM_ARRAY_SIZE(common); i++)
		argv[n++] = arg(common[i]);
	if (faccessat(dir_fd, LISTS, F_OK, 0) == 0) {
		for (size_t i = 0; i < MVM_ARRAY_SIZE(own_lists); i++)
			argv[n++] = arg(own_lists[i]);
	}
	if (option)
		argv[n++] = arg(option);
	argv[n++] = arg(verb);
	argv[n] = arg(package); /* NULL: none */
	int r = program_ask(argv, dir_fd, clock_now_ns() + (int64_t)seconds * NS_PER_S, progress,
			    ret);
	if (r == -ENOENT) {
		r = mvm_error_set(err, -EOPNOTSUPP,
				  "cannot fetch a kernel: there is no %s (a program of Debian's)",
				  program);
		return mvm_error_reason(err, r, "kernel-not-found", NULL);
	}
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "the download");
	return r < 0 ? mvm_error_set(err, r, "cannot run %s: %s", program, strerror(-r)) : r;
}

/* Report the first of apt's lines that says what is wrong. */
static int apt_failed(const char *verb, char *said, struct mvm_error *err)
{
	char *why = strstr(said, "E: ");
	why = why ? why + strlen("E: ") : said;
	why[strcspn(why, "\n")] = '\0';
	return mvm_error_set(err, -EREMOTEIO, "apt-get %s failed: %s", verb,
			     *why ? why : "it did not say why");
}

/* The package in "  Depends: linux-image-6.1.0-56-cloud-amd64" in the text; NULL: none. */
static char *versioned_package(const char *text)
{
	static const char depends[] = "Depends: ";
	const char *at = text;

	while ((at = strstr(at, depends))) {
		at += strlen(depends);
		size_t len = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789.+-");
		if (str_starts(at, PACKAGE_PREFIX) && at[len] == '\n' &&
		    at[strlen(PACKAGE_PREFIX)] >= '0' && at[strlen(PACKAGE_PREFIX)] <= '9')
			return strndup(at, len);
	}
	return NULL;
}

/* Ask apt-cache for the newest kernel's package.  *ret is NULL when it knows none. */
static int ask_for_package(int dir_fd, const struct mvm_progress *progress, char **ret,
			   struct mvm_error *err)
{
	char said[ASK_TEXT_MAX];
	int r = apt("apt-cache", NULL, "depends", META_PACKAGE, dir_fd, ASK_S, progress, said, err);
	*ret = r == 0 ? versioned_package(said) : NULL;
	return r < 0 ? r : 0;
}

/* Find the newest kernel's package.  If this host's lists of packages do not have it, download
 * today's lists into dir_fd. */
static int find_package(int dir_fd, const struct mvm_progress *progress, char **ret,
			struct mvm_error *err)
{
	char said[ASK_TEXT_MAX];
	AUTO_DONE(progress_step) step = { 0 };

	int r = ask_for_package(dir_fd, progress, ret, err);
	if (r < 0 || *ret)
		return r;
	progress_begin(&step, progress,
		       "kernel: lists of packages from the mirrors in apt's sources");
	if (mkdirat(dir_fd, LISTS, 0755) < 0 || mkdirat(dir_fd, LISTS "/partial", 0755) < 0)
		return mvm_error_set(err, -errno, "cannot make a folder: %s", strerror(errno));
	r = apt("apt-get", NULL, "update", NULL, dir_fd, DOWNLOAD_S, progress, said, err);
	if (r != 0)
		return r < 0 ? r : apt_failed("update", said, err);
	r = ask_for_package(dir_fd, progress, ret, err);
	if (r == 0 && !*ret) {
		r = mvm_error_set(err, -EOPNOTSUPP,
				  "cannot fetch a kernel: apt knows no " META_PACKAGE
				  " (a package of Debian's)");
		return mvm_error_reason(err, r, "kernel-not-found", NULL);
	}
	progress_end(&step, NULL);
	return r;
}

/* Find the newest kernel's package in a folder.  *ret is NULL when there is none. */
static int find_deb(int dir_fd, char **ret, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	const char *newest = NULL;

	int r = dir_list(dir_fd, &names);
	if (r < 0)
		return mvm_error_set(err, r, "cannot list a folder: %s", strerror(-r));
	for (size_t i = 0; i < names.n; i++) {
		const char *name = names.v[i], *dot = strrchr(name, '.');
		if (str_starts(name, PACKAGE_PREFIX) && dot && str_eq(dot, ".deb") &&
		    (!newest || strverscmp(newest, name) < 0))
			newest = name;
	}
	*ret = newest ? strdup(newest) : NULL;
	return newest && !*ret ? mvm_error_oom(err) : 0;
}

/* Say what is downloaded, and from where: apt's line is 'URL' NAME BYTES HASH.  An apt that does
 * not say it downloads all the same. */
static int begin_download(int dir_fd, const char *package, const struct mvm_progress *progress,
			  struct progress_step *step, struct mvm_error *err)
{
	char said[ASK_TEXT_MAX], digits[24], size[24];
	uint64_t bytes = 0;

	int r = apt("apt-get", "--print-uris", "download", package, dir_fd, ASK_S, progress, said,
		    err);
	if (r < 0)
		return r;
	if (r != 0 || sscanf(said, "'%*[^']' %*s %23s", digits) != 1 ||
	    parse_u64(digits, 0, UINT64_MAX, &bytes) < 0) {
		progress_begin(step, progress, "kernel: download %s", package);
		return 0;
	}
	str_bytes(bytes, size, sizeof(size));
	progress_begin(step, progress, "kernel: download %s: %.*s", size,
		       (int)strcspn(said + 1, "'"), said + 1);
	return 0;
}

/* Download the package into dir_fd; *ret_deb is its name there. */
static int download(int dir_fd, const char *package, const struct mvm_progress *progress,
		    char **ret_deb, struct mvm_error *err)
{
	char said[ASK_TEXT_MAX];
	AUTO_DONE(progress_step) step = { 0 };

	int r = begin_download(dir_fd, package, progress, &step, err);
	if (r < 0)
		return r;
	r = apt("apt-get", NULL, "download", package, dir_fd, DOWNLOAD_S, progress, said, err);
	if (r != 0)
		return r < 0 ? r : apt_failed("download", said, err);
	r = find_deb(dir_fd, ret_deb, err);
	if (r < 0)
		return r;
	if (!*ret_deb)
		return mvm_error_set(err, -EREMOTEIO, "apt-get download brought no package");
	progress_end(&step, NULL);
	return 0;
}

/* Is this version imported under that name?  Then *ret gets it. */
static bool is_there(struct mvm *mvm, const char *name, const char *version,
		     struct mvm_kernel **ret)
{
	struct mvm_kernel *k = NULL;
	/* kernels_add() replaces or refuses a damaged kernel */
	if (kernels_find(mvm->store, name, &k, NULL, NULL) < 0)
		return false;
	bool same = str_eq(k->version, version);
	if (same && ret)
		*ret = TAKE_PTR(k);
	mvm_kernel_free(k);
	return same;
}

int mvm_kernel_fetch(struct mvm *mvm, const char *name, bool force,
		     const struct mvm_progress *progress, struct mvm_kernel **ret,
		     struct mvm_error *err)
{
	AUTO_DONE(staging) st = STAGING_NONE;
	AUTO_FREE char *package = NULL;
	AUTO_FREE char *deb = NULL;
	struct progress_watch watch;
	char folder[FD_PATH_SIZE];

	int r = progress_take(&watch, &progress, err);
	if (r == 0 && name)
		r = name_check(NAME_KERNEL, name, err);
	if (r == 0)
		r = store_stage(mvm->store, &st, err);
	if (r == 0)
		r = find_package(st.fd, progress, &package, err);
	if (r < 0)
		return r;
	const char *version = package + strlen(PACKAGE_PREFIX);
	if (!force && is_there(mvm, name ? name : version, version, ret))
		return 0;
	r = download(st.fd, package, progress, &deb, err);
	if (r < 0)
		return r;
	fd_path(st.fd, folder);
	AUTO_FREE char *path = str_printf("%s/%s", folder, deb);
	return path ? kernels_add(mvm->store, path, name, force, progress, ret, err)
		    : mvm_error_oom(err);
}

static int download_to(int dir_fd, const struct mvm_progress *progress, char **ret_deb,
		       struct mvm_error *err)
{
	AUTO_FREE char *package = NULL;
	char part[64];

	/* in a folder of its own first, so that half a download is never taken for a package */
	AUTO_CLOSE int part_fd = dir_make_unique_at(dir_fd, "part.", part);
	if (part_fd < 0)
		return mvm_error_set(err, part_fd, "cannot make a folder: %s", strerror(-part_fd));
	int r = find_package(part_fd, progress, &package, err);
	if (r == 0)
		r = download(part_fd, package, progress, ret_deb, err);
	if (r == 0 && renameat(part_fd, *ret_deb, dir_fd, *ret_deb) < 0)
		r = mvm_error_set(err, -errno, "cannot move '%s': %s", *ret_deb, strerror(errno));
	tree_remove_at(dir_fd, part); /* only this process uses that name */
	return r < 0 ? r : 1;
}

int mvm_kernel_download(const char *dir, const struct mvm_progress *progress, char **ret,
			struct mvm_error *err)
{
	AUTO_FREE char *deb = NULL;
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	if (r < 0)
		return r;
	r = dir_make_path(dir);
	AUTO_CLOSE int dir_fd = r < 0 ? r : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r < 0 || dir_fd < 0)
		return mvm_error_set(err, r < 0 ? r : -errno, "cannot open folder '%s': %s", dir,
				     strerror(r < 0 ? -r : errno));
	r = find_deb(dir_fd, &deb, err);
	if (r == 0 && !deb)
		r = download_to(dir_fd, progress, &deb, err);
	if (r < 0)
		return r;
	*ret = str_printf("%s/%s", dir, deb);
	return *ret ? r : mvm_error_oom(err);
}
