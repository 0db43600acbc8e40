/* SPDX-License-Identifier: Apache-2.0 */
#include "store/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "codec/sha256.h"

#define VERIFIED_MAX	((size_t)1024 * 1024) /* as checksums.json */
#define LARGE_BYTES	((off_t)64 << 20)     /* reading this much deserves a step of its own */
#define TICK_NS		(20 * NS_PER_MS)      /* the kernel's file times may lag by this */
#define WHOLE_SECOND_NS (2 * NS_PER_S)	      /* for file systems whose times have no fractions */

/* One check, and the lines of `verified`. */
struct check {
	int dir_fd;
	const struct trust *how;
	struct strbuf lines;
	bool changed;
	size_t n_files;
};

static char *line_of(const struct stat *st, const struct checksum *sum)
{
	AUTO_FREE char *identity = file_identity(st);
	char hex[DIGEST_HEX_SIZE];
	digest_hex(&sum->digest, hex);
	return identity ? str_printf("%s %s %s\n", identity, hex, sum->path) : NULL;
}

static bool is_known(const struct strbuf *lines, const char *line)
{
	const char *at = lines->data;
	while (at && (at = strstr(at, line)) != NULL) {
		if (at == lines->data || at[-1] == '\n')
			return true;
		at++;
	}
	return false;
}

/* The path in the line that ends at `end`; NULL: it is no line of `verified`. */
static const char *path_in(const char *line, const char *end)
{
	const char *digest = memchr(line, ' ', (size_t)(end - line));
	const char *path = digest ? memchr(digest + 1, ' ', (size_t)(end - digest - 1)) : NULL;
	return path ? path + 1 : NULL;
}

/* Replace the path's line; NULL: remove it.  Drops text that is no line of `verified`. */
static void set_line(struct check *c, const char *path, const char *line)
{
	struct strbuf kept = { 0 };
	const char *at = c->lines.data, *end;

	for (; at && (end = strchr(at, '\n')) != NULL; at = end + 1) {
		const char *other = path_in(at, end);
		if (other && (strlen(path) != (size_t)(end - other) ||
			      memcmp(path, other, strlen(path)) != 0))
			strbuf_add(&kept, at, (size_t)(end - at) + 1);
	}
	if (line)
		strbuf_adds(&kept, line);
	strbuf_done(&c->lines);
	c->lines = kept;
	c->changed = true;
}

/* Has a tick passed since the file's last change?  A second change within one tick leaves the times
 * as they are (git's racy files). */
static bool is_settled(const struct stat *st)
{
	int64_t age_ns = clock_wall_ns() -
			 ((int64_t)st->st_ctim.tv_sec * NS_PER_S + st->st_ctim.tv_nsec);
	return age_ns < 0 || age_ns > (st->st_ctim.tv_nsec ? TICK_NS : WHOLE_SECOND_NS);
}

static int report_damage(struct mvm_error *err, const char *path, const char *why)
{
	return mvm_error_set(err, -EBADMSG, "'%s' is damaged: %s", path, why);
}

static int digest_of(struct check *c, int fd, const struct stat *st, const char *path,
		     struct mvm_digest *ret)
{
	AUTO_DONE(progress_step) step = { 0 };
	progress_begin(&step, st->st_size >= LARGE_BYTES ? c->how->progress : NULL,
		       "%s: checking '%s' for damage", c->how->id, path);
	int r = sha256_fd(fd, &step, ret, NULL);
	if (r == 0)
		progress_end(&step, NULL);
	return r;
}

static int read_file(struct check *c, const struct checksum *sum, struct mvm_error *err)
{
	struct stat before = { 0 }, after;
	struct mvm_digest digest;
	AUTO_CLOSE int fd = openat(c->dir_fd, sum->path,
				   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int r = fd < 0 || fstat(fd, &before) < 0 ? -errno : 0;
	bool settled = r == 0 && is_settled(&before);

	if (r == 0)
		r = digest_of(c, fd, &before, sum->path, &digest);
	if (r == -ECANCELED)
		return mvm_error_set(err, r, "the check was cancelled");
	if (r == 0 && fstat(fd, &after) < 0)
		r = -errno;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", sum->path, strerror(-r));
	if (!digest_equal(&digest, &sum->digest))
		return report_damage(err, sum->path, "its digest is not the one recorded");
	AUTO_FREE char *line = line_of(&before, sum), *now = line_of(&after, sum);
	if (!line || !now)
		return mvm_error_oom(err);
	if (!str_eq(line, now))
		return report_damage(err, sum->path, "it changed while mvm read it");
	set_line(c, sum->path, settled ? line : NULL);
	return 0;
}

static int check_file(struct check *c, const struct checksum *sum, struct mvm_error *err)
{
	struct stat st;

	c->n_files++;
	if (fstatat(c->dir_fd, sum->path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return mvm_error_set(err, -EBADMSG, "'%s' is missing", sum->path);
		return mvm_error_set(err, -errno, "cannot look at '%s': %s", sum->path,
				     strerror(errno));
	}
	if (!S_ISREG(st.st_mode))
		return report_damage(err, sum->path, "it is no regular file");
	AUTO_FREE char *line = line_of(&st, sum);
	if (!line)
		return mvm_error_oom(err);
	return !c->how->all && is_known(&c->lines, line) ? 0 : read_file(c, sum, err);
}

/* Write `verified`.  Failures do not matter: the next check reads the files again.  Another user's
 * revision is left alone. */
static void remember(const struct check *c)
{
	struct stat st;
	if (!c->changed || !c->how->store || c->lines.failed || fstat(c->dir_fd, &st) < 0 ||
	    st.st_uid != geteuid())
		return;
	int scratch_fd = store_scratch(c->how->store, NULL);
	if (scratch_fd >= 0)
		file_replace_at(scratch_fd, c->dir_fd, STORE_VERIFIED,
				c->lines.data ? c->lines.data : "", c->lines.len, 0644);
}

static bool is_asked_for(const struct trust *how, const char *path)
{
	return how->only ? str_eq(path, how->only) : how->all || !str_starts(path, "snapshot/");
}

int store_trust(int dir_fd, const struct checksums *sums, const struct trust *how,
		struct mvm_error *err)
{
	struct check c = { .dir_fd = dir_fd, .how = how };
	AUTO_FREE char *known = NULL;
	int r = file_read_at(dir_fd, STORE_VERIFIED, VERIFIED_MAX, &known, NULL);
	if (r == 0)
		strbuf_adds(&c.lines, known);

	r = c.lines.failed || r == -ENOMEM ? mvm_error_oom(err) : 0;
	for (size_t i = 0; r == 0 && i < sums->n; i++) {
		if (is_asked_for(how, sums->v[i].path))
			r = check_file(&c, &sums->v[i], err);
	}
	if (r == 0 && how->only && c.n_files == 0)
		r = mvm_error_set(err, -EBADMSG, "'%s' is not in checksums.json", how->only);
	if (r == 0)
		remember(&c);
	else if (r == -EBADMSG)
		store_distrust(dir_fd);
	strbuf_done(&c.lines);
	return r;
}

/* Is another file remembered with this path?  A new hard link changes ctime alone, so that does not
 * count. */
static bool is_another(const char *lines, const char *path, const struct stat *st)
{
	AUTO_FREE char *identity = file_identity(st);
	const char *ctime = identity ? strrchr(identity, ':') : NULL;
	size_t len = strlen(path);

	for (const char *at = lines, *end; ctime && (end = strchr(at, '\n')); at = end + 1) {
		const char *other = path_in(at, end);
		if (other && (size_t)(end - other) == len && memcmp(other, path, len) == 0)
			return strncmp(at, identity, (size_t)(ctime - identity)) != 0;
	}
	return false;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

const char *store_trust_changed(int dir_fd, const struct checksums *sums)
{
	AUTO_FREE char *known = NULL;
	struct stat list, st;

	if (fstatat(dir_fd, "checksums.json", &list, AT_SYMLINK_NOFOLLOW) < 0)
		return NULL;
	file_read_at(dir_fd, STORE_VERIFIED, VERIFIED_MAX, &known, NULL); /* may be missing */
	for (size_t i = 0; i < sums->n; i++) {
		const char *path = sums->v[i].path;
		if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* whoever needs it says so */
		/* the list was written last */
		if (is_later(&st.st_mtim, &list.st_mtim) || (known && is_another(known, path, &st)))
			return path;
	}
	return NULL;
}

void store_distrust(int dir_fd)
{
	unlinkat(dir_fd, STORE_VERIFIED, 0); /* fails if it is missing, or nobody can write here */
}
