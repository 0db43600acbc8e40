/* SPDX-License-Identifier: Apache-2.0 */
#include "store/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "codec/sha256.h"

void store_verify_count(int dir_fd, struct verify *v)
{
	AUTO_DONE(strv) paths = { 0 };

	if (store_revision_files(dir_fd, &paths) < 0)
		return;
	for (size_t i = 0; i < paths.n; i++) {
		struct stat st;
		if (fstatat(dir_fd, paths.v[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		size_t known = v->seen.n;
		if (inodes_get(&v->seen, &st) && v->seen.n > known)
			v->total_bytes += (uint64_t)st.st_size;
	}
}

static int report(struct verify *v, const char *file, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int report(struct verify *v, const char *file, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return v->problem(v->arg, file, text);
}

/* Digest a file once, however many names it has. */
static int digest_once(int dir_fd, const char *path, struct verify *v, struct mvm_digest *ret)
{
	struct stat st;
	AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	struct inode *inode = inodes_get(&v->seen, &st);
	if (!inode)
		return -ENOMEM;
	if (!inode->digested) {
		/* not counting the bytes of a file whose reading failed */
		if (v->step) {
			v->step->done_bytes = v->done_bytes;
			v->step->total_bytes = v->total_bytes;
		}
		int r = sha256_fd(fd, v->step, &inode->digest, NULL);
		if (r < 0)
			return r;
		inode->digested = true;
		v->done_bytes += (uint64_t)st.st_size;
	}
	*ret = inode->digest;
	return 0;
}

static int check_file(int dir_fd, const char *path, const struct checksums *sums, struct verify *v)
{
	const struct mvm_digest *listed = checksums_find(sums, path);
	struct mvm_digest actual;

	/* a step looks only ten times a second, and small files are read faster */
	int r = progress_check(v->step ? v->step->to : NULL, NULL);
	if (r < 0)
		return r;
	v->n_files++;
	if (!listed)
		return report(v, path, "'%s' is not in checksums.json", path);
	r = digest_once(dir_fd, path, v, &actual);
	if (r == -ENOMEM || r == -ECANCELED) /* these say nothing about the file */
		return r;
	if (r < 0)
		return report(v, path, "cannot read '%s': %s", path, strerror(-r));
	return digest_equal(listed, &actual)
		       ? 0
		       : report(v, path, "'%s' is damaged: its digest is not the one recorded",
				path);
}

int store_verify_revision(int dir_fd, struct verify *v)
{
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_DONE(strv) paths = { 0 };
	struct mvm_error why = { 0 };

	int r = store_checksums_read(dir_fd, &sums, &why);
	if (r < 0)
		return r == -ENOMEM ? r : v->problem(v->arg, "checksums.json", why.text);
	r = store_checksums_hold_revision(dir_fd, &sums, &why);
	if (r < 0 && (r = v->problem(v->arg, "revision.json", why.text)) < 0)
		return r;
	r = store_revision_files(dir_fd, &paths);
	if (r < 0)
		return r == -ENOMEM ? r
				    : report(v, NULL, "cannot list the revision's files: %s",
					     strerror(-r));
	for (size_t i = 0; r == 0 && i < sums.n; i++) {
		if (!strv_has(&paths, sums.v[i].path))
			r = report(v, sums.v[i].path, "'%s' is missing", sums.v[i].path);
	}
	for (size_t i = 0; r == 0 && i < paths.n; i++)
		r = check_file(dir_fd, paths.v[i], &sums, v);
	return r;
}

/* ---- one revision, up to the first problem ---- */

static int stop_at_first(void *arg, const char *file, const char *text)
{
	(void)file;
	return mvm_error_set(arg, -EBADMSG, "%s", text);
}

int store_revision_verify(int dir_fd, struct progress_step *step, struct mvm_error *err)
{
	struct mvm_error local = { 0 };
	AUTO_DONE(verify) v = {
		.step = step,
		.problem = stop_at_first,
		.arg = err ? err : &local,
	};

	if (step)
		store_verify_count(dir_fd, &v);
	int r = store_verify_revision(dir_fd, &v);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "the check");
	return r == -ENOMEM ? mvm_error_oom(err) : r;
}
