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
#include "base/seal.h"
#include "codec/sha256.h"

#define VERIFIED_MAX	((size_t)1024 * 1024) /* the limit of checksums.json */
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

static char *line_with(const char *mark, const struct checksum *sum)
{
	char hex[DIGEST_HEX_SIZE];
	digest_hex(&sum->digest, hex);
	return str_printf("%s %s %s\n", mark, hex, sum->path);
}

static char *line_of(const struct stat *st, const struct checksum *sum)
{
	AUTO_FREE char *identity = file_identity(st);
	return identity ? line_with(identity, sum) : NULL;
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

/* The path's line, which ends at *ret_end; NULL: it has none. */
static const char *find_line(const char *lines, const char *path, const char **ret_end)
{
	size_t len = strlen(path);
	for (const char *at = lines, *end; at && (end = strchr(at, '\n')) != NULL; at = end + 1) {
		const char *other = path_in(at, end);
		if (other && (size_t)(end - other) == len && memcmp(other, path, len) == 0) {
			*ret_end = end;
			return at;
		}
	}
	return NULL;
}

static bool has_seal(const char *line)
{
	return str_starts(line, SEAL_PREFIX);
}

static bool read_seal(int dir_fd, const char *path, char ret[SEAL_SIZE])
{
	AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd >= 0 && seal_read(fd, ret);
}

/* Is the file sealed, and known by its seal?  A file that is known otherwise is not opened. */
static bool is_sealed_as_known(const char *lines, int dir_fd, const struct checksum *sum)
{
	char seal[SEAL_SIZE];
	const char *end, *known = find_line(lines, sum->path, &end);
	if (!known || !has_seal(known) || !read_seal(dir_fd, sum->path, seal))
		return false;
	AUTO_FREE char *line = line_with(seal, sum); /* NULL: the file is read, which reports it */
	return line && str_starts(known, line);
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

/* Remember a file by its seal; the kernel has kept it from changing while it was read. */
static int remember_sealed(struct check *c, const struct checksum *sum, const char *seal,
			   struct mvm_error *err)
{
	AUTO_FREE char *line = line_with(seal, sum);
	if (!line)
		return mvm_error_oom(err);
	set_line(c, sum->path, line);
	return 0;
}

/* ctime alone says nothing: it changes whenever another command links or unlinks the same blob. */
static bool was_written(const struct stat *before, const struct stat *after)
{
	return before->st_size != after->st_size ||
	       before->st_mtim.tv_sec != after->st_mtim.tv_sec ||
	       before->st_mtim.tv_nsec != after->st_mtim.tv_nsec;
}

static int read_file(struct check *c, const struct checksum *sum, struct mvm_error *err)
{
	struct stat before = { 0 }, after = { 0 };
	struct mvm_digest digest;
	char seal[SEAL_SIZE];
	AUTO_CLOSE int fd = openat(c->dir_fd, sum->path,
				   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int r = fd < 0 || fstat(fd, &before) < 0 ? -errno : 0;
	bool settled = r == 0 && is_settled(&before);
	bool sealed = r == 0 && seal_read(fd, seal);

	if (r == 0)
		r = digest_of(c, fd, &before, sum->path, &digest);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "the check");
	if (r == -EIO && sealed)
		return report_damage(err, sum->path, "a part of it is not what was sealed");
	if (r == 0 && fstat(fd, &after) < 0)
		r = -errno;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", sum->path, strerror(-r));
	if (!digest_equal(&digest, &sum->digest))
		return report_damage(err, sum->path, "its digest is not the one recorded");
	if (sealed)
		return remember_sealed(c, sum, seal, err);
	if (was_written(&before, &after))
		return report_damage(err, sum->path, "it changed while mvm read it");
	AUTO_FREE char *line = line_of(&before, sum), *now = line_of(&after, sum);
	if (!line || !now)
		return mvm_error_oom(err);
	/* with another ctime it is read again, by the next check */
	set_line(c, sum->path, settled && str_eq(line, now) ? line : NULL);
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
	if (!c->how->all && is_sealed_as_known(c->lines.data, c->dir_fd, sum))
		return 0;
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
static bool is_another(const char *lines, int dir_fd, const struct checksum *sum,
		       const struct stat *st)
{
	const char *end, *line = find_line(lines, sum->path, &end);
	if (line && has_seal(line))
		return !is_sealed_as_known(lines, dir_fd, sum);
	AUTO_FREE char *identity = file_identity(st);
	const char *ctime = identity ? strrchr(identity, ':') : NULL;
	return line && ctime && strncmp(line, identity, (size_t)(ctime - identity)) != 0;
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
			continue; /* the check of a start reports missing files */
		/* the list was written last */
		if (is_later(&st.st_mtim, &list.st_mtim) ||
		    is_another(known, dir_fd, &sums->v[i], &st))
			return path;
	}
	return NULL;
}

bool store_trust_sealed(int dir_fd, const struct checksums *sums, const char *path)
{
	AUTO_FREE char *known = NULL;
	if (file_read_at(dir_fd, STORE_VERIFIED, VERIFIED_MAX, &known, NULL) < 0)
		return false;
	for (size_t i = 0; i < sums->n; i++) {
		if (str_eq(sums->v[i].path, path))
			return is_sealed_as_known(known, dir_fd, &sums->v[i]);
	}
	return false;
}

/* The line for a file of a staged revision, the caller's; NULL: it gets none. */
static char *stage_line(const char *known, int staged_fd, const struct checksum *sum,
			const char *hashed)
{
	char seal[SEAL_SIZE];
	const char *end, *line = find_line(known, sum->path, &end);
	if (hashed && str_starts(sum->path, hashed))
		return read_seal(staged_fd, sum->path, seal) ? line_with(seal, sum) : NULL;
	return line && has_seal(line) ? strndup(line, (size_t)(end - line) + 1) : NULL;
}

void store_trust_stage(int from_fd, int staged_fd, const char *hashed)
{
	AUTO_DONE(checksums) sums = { 0 };
	AUTO_DONE(strbuf) lines = { 0 };
	AUTO_FREE char *known = NULL;

	file_read_at(from_fd, STORE_VERIFIED, VERIFIED_MAX, &known, NULL); /* may be missing */
	if (store_checksums_read(staged_fd, &sums, NULL) < 0)
		return;
	for (size_t i = 0; i < sums.n; i++) {
		AUTO_FREE char *line = stage_line(known, staged_fd, &sums.v[i], hashed);
		if (line)
			strbuf_adds(&lines, line);
	}
	if (lines.len && !lines.failed)
		file_create_at(staged_fd, STORE_VERIFIED, lines.data, lines.len, 0644);
}

void store_distrust(int dir_fd)
{
	unlinkat(dir_fd, STORE_VERIFIED, 0); /* may be missing, or its folder read-only */
}
