/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/parse.h"
#include "copy.h"
#include "metadata.h"
#include "room.h"

#define CHUNK	  65536u
#define DEPTH_MAX 128u

static int failed(struct mvm_error *err, const char *path)
{
	return mvm_error_set(err, -errno, "'%s': %s", path, strerror(errno));
}

/* Add one part of a path to ret, which has no "." and "..". */
static void add_part(struct strbuf *ret, const char *part, size_t len)
{
	if (len == 0 || (len == 1 && part[0] == '.'))
		return;
	if (len == 2 && part[0] == '.' && part[1] == '.') {
		while (ret->len > 0 && ret->data[--ret->len] != '/')
			;
		return;
	}
	strbuf_add(ret, "/", 1);
	strbuf_add(ret, part, len);
}

static void add_parts(struct strbuf *ret, const char *path)
{
	for (size_t n; *path; path += n + (path[n] == '/')) {
		n = strcspn(path, "/");
		add_part(ret, path, n);
	}
}

int files_resolve(const struct user *user, const char *path, char *ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) b = { 0 };
	bool home = path[0] == '~' && (path[1] == '/' || !path[1]);
	if (home || path[0] != '/')
		add_parts(&b, user->home);
	add_parts(&b, home ? path + 1 : path);
	if (b.len == 0)
		strbuf_adds(&b, "/");
	if (b.failed || b.len >= PATH_MAX)
		return mvm_error_set(err, -ENAMETOOLONG, "the path is too long");
	snprintf(ret, PATH_MAX, "%.*s", (int)b.len, b.data);
	return 0;
}

static char type_of(mode_t mode)
{
	if (S_ISREG(mode))
		return 'f';
	if (S_ISDIR(mode))
		return 'd';
	return S_ISLNK(mode) ? 'l' : 'o';
}

/* Where a link leads to, as far as it leads. */
static void follow(const char *path, char ret[PATH_MAX])
{
	ssize_t n;
	if (realpath(path, ret))
		return;
	n = readlink(path, ret, PATH_MAX - 1);
	ret[n > 0 ? n : 0] = '\0';
}

/* The last owner and the last group of a list: most files of a folder have the same, and each look
 * reads a file.  A watch is longer, and names may change meanwhile.  name: NULL before the first */
static struct {
	unsigned id;
	char *name;
} last_owner, last_group;
static bool lists;

/* name: NULL if it has none */
static const char *keep_name(unsigned id, const char *name, unsigned *ret_id, char **ret)
{
	char number[16];
	snprintf(number, sizeof(number), "%u", id);
	free(*ret);
	*ret = strdup(name ? name : number);
	*ret_id = id;
	return *ret ? *ret : "";
}

static const char *owner_name(uid_t uid)
{
	if (lists && last_owner.name && last_owner.id == uid)
		return last_owner.name;
	const struct passwd *pw = getpwuid(uid);
	return keep_name(uid, pw ? pw->pw_name : NULL, &last_owner.id, &last_owner.name);
}

static const char *group_name(gid_t gid)
{
	if (lists && last_group.name && last_group.id == gid)
		return last_group.name;
	const struct group *gr = getgrgid(gid);
	return keep_name(gid, gr ? gr->gr_name : NULL, &last_group.id, &last_group.name);
}

int files_put_entry(const char *path, struct mvm_error *err)
{
	char target[PATH_MAX] = "";
	AUTO_DONE(strbuf) metadata = { 0 };
	struct stat st, to;

	if (lstat(path, &st) < 0)
		return failed(err, path);
	to = st;
	if (S_ISLNK(st.st_mode)) {
		follow(path, target);
		if (stat(path, &to) < 0)
			to = st;
	}
	metadata_read(path, &metadata);
	printf("%c%c%o%c%lld%c%lld%c%s%c%s%c%s%c%s%c%s%c", type_of(to.st_mode), 0,
	       (unsigned)to.st_mode & 07777, 0, (long long)st.st_size, 0,
	       (long long)st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec, 0,
	       owner_name(st.st_uid), 0, group_name(st.st_gid), 0, path, 0, target, 0,
	       metadata.data ? metadata.data : "", 0);
	return ferror(stdout) ? mvm_error_set(err, -EIO, "cannot write the stream") : 0;
}

/* list ------------------------------------------------------------------------------------- */

static int list_below(const char *path, unsigned depth, unsigned level, struct mvm_error *err);

static int list_one(const char *path, const char *name, unsigned depth, unsigned level,
		    struct mvm_error *err)
{
	char child[PATH_MAX];
	struct stat st;
	int n = snprintf(child, sizeof(child), "%s/%s", path[1] ? path : "", name);

	if (n >= (int)sizeof(child) || lstat(child, &st) < 0)
		return 0; /* too deep to name, or gone meanwhile */
	int r = files_put_entry(child, err);
	if (r == -ENOENT)
		return 0;
	if (r == 0 && depth > 1 && level < DEPTH_MAX && S_ISDIR(st.st_mode))
		r = list_below(child, depth - 1, level + 1, err);
	return r;
}

static int list_below(const char *path, unsigned depth, unsigned level, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_CLOSE int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 && level > 0)
		return 0; /* gone meanwhile */
	if (dir < 0)
		return failed(err, path);
	int r = dir_list(dir, &names);
	if (r < 0)
		return mvm_error_set(err, r, "'%s': %s", path, strerror(-r));
	strv_sort(&names);
	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = list_one(path, names.v[i], depth, level, err);
	return r;
}

/* Changes ---------------------------------------------------------------------------------- */

/* Make a folder and those above it, the user's. */
static int make_folders(char *path, const struct user *user, struct mvm_error *err)
{
	for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		int r = mkdir(path, 0755);
		if (r == 0 && lchown(path, user->uid, user->gid) < 0)
			r = -1;
		if (r < 0 && errno != EEXIST)
			return failed(err, path);
		if (!slash)
			return 0;
		*slash = '/';
	}
}

static int make_above(const char *path, const struct user *user, struct mvm_error *err)
{
	char above[PATH_MAX];
	snprintf(above, sizeof(above), "%s", path);
	char *slash = strrchr(above, '/');
	if (!slash || slash == above)
		return 0;
	*slash = '\0';
	return make_folders(above, user, err);
}

static int do_mkdir(char *path, const struct user *user, struct mvm_error *err)
{
	struct stat st;
	if (stat(path, &st) == 0)
		return S_ISDIR(st.st_mode)
			       ? mvm_error_set(err, -EEXIST, "'%s' exists already", path)
			       : mvm_error_set(err, -ENOTDIR, "'%s' exists and is no folder", path);
	int r = make_folders(path, user, err);
	return r < 0 ? r : files_put_entry(path, err);
}

static int do_move(const char *from, const char *to, const struct user *user, struct mvm_error *err)
{
	struct stat st;
	if (lstat(from, &st) < 0)
		return failed(err, from);
	int r = make_above(to, user, err);
	if (r == 0 && rename(from, to) < 0)
		r = failed(err, to);
	return r < 0 ? r : files_put_entry(to, err);
}

static int do_remove(const char *path, struct mvm_error *err)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : failed(err, path);
	int r = tree_remove_at(AT_FDCWD, path);
	return r < 0 && r != -ENOENT ? mvm_error_set(err, r, "'%s': %s", path, strerror(-r)) : 0;
}

/* Contents --------------------------------------------------------------------------------- */

/* Where to begin, from OFFSET: "-N" is N bytes before the end.  Returns -EINVAL or 0. */
static int parse_offset(const char *text, off_t size, off_t *ret)
{
	uint64_t n = 0;
	bool from_end = text[0] == '-';
	int r = parse_u64(text + from_end, 0, INT64_MAX, &n);
	if (r < 0)
		return -EINVAL;
	*ret = (off_t)n;
	if (from_end)
		*ret = n < (uint64_t)size ? size - (off_t)n : 0;
	return 0;
}

static int do_read(const char *path, const char *offset, const char *length, struct mvm_error *err)
{
	static char chunk[CHUNK];
	struct stat st;
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return failed(err, path);
	if (S_ISDIR(st.st_mode))
		return mvm_error_set(err, -EISDIR, "'%s' is a folder", path);
	if (!S_ISREG(st.st_mode))
		return mvm_error_set(err, -EINVAL, "'%s' is no regular file", path);
	off_t from = 0;
	uint64_t max = INT64_MAX;
	if ((*offset && parse_offset(offset, st.st_size, &from) < 0) ||
	    (*length && parse_u64(length, 0, INT64_MAX, &max) < 0))
		return mvm_error_set(err, -EINVAL, "an offset and a length are numbers");
	if (from > 0 && lseek(fd, from, SEEK_SET) < 0)
		return failed(err, path);
	int r = files_put_entry(path, err);
	fflush(stdout);
	/* a file of /proc has no size; of others no more comes than the entry says */
	off_t left = st.st_size ? st.st_size - from : LONG_MAX;
	left = left < (off_t)max ? left : (off_t)max;
	while (r == 0 && left > 0) {
		ssize_t n = read(fd, chunk, left < (off_t)CHUNK ? (size_t)left : CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed(err, path);
		if (n == 0)
			break;
		left -= n;
		if (file_write_all(STDOUT_FILENO, chunk, (size_t)n) < 0)
			r = mvm_error_set(err, -EIO, "cannot write the stream");
	}
	return r;
}

static volatile sig_atomic_t broken_off;

static void on_term(int signal)
{
	(void)signal;
	broken_off = 1;
}

static int copy_input(int fd, const char *path, struct mvm_error *err)
{
	static char chunk[CHUNK];
	struct room_input in = { .path = path };
	for (;;) {
		ssize_t n = room_read(&in, chunk, sizeof(chunk), err);
		if (broken_off) /* the agent has closed its end by now, or does so soon */
			return mvm_error_set(err, -ECANCELED, "the stream was broken off");
		if (n <= 0)
			return (int)n;
		int r = file_write_all(fd, chunk, (size_t)n);
		if (r < 0)
			return mvm_error_set(err, r, "'%s': %s", path, strerror(-r));
	}
}

/* A file beside path, for contents that get path's name once they are whole.  "" when the file has
 * to be written where it is, because its other names or links count on that, or it is none (a
 * device), or its folder takes no new file. */
static int open_beside(const char *path, char ret[PATH_MAX], mode_t *ret_mode)
{
	const struct sigaction action = { .sa_handler = on_term }; /* interrupts reads */
	struct stat st;
	ret[0] = '\0';
	if (lstat(path, &st) == 0) {
		if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
			return -1;
		*ret_mode = st.st_mode & 07777;
	}
	int n = snprintf(ret, PATH_MAX, "%.*s/.mvm-write-%d", (int)(strrchr(path, '/') - path),
			 path, getpid());
	sigaction(SIGTERM, &action, NULL);
	int fd = n < PATH_MAX ? open(ret, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : -1;
	if (fd < 0)
		ret[0] = '\0';
	return fd;
}

/* Something is mounted at path: it gets the contents where it is. */
static int write_over(int from, const char *path, struct mvm_error *err)
{
	static char chunk[CHUNK];
	ssize_t n;
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || lseek(from, 0, SEEK_SET) < 0)
		return failed(err, path);
	while ((n = read(from, chunk, sizeof(chunk))) > 0) {
		int r = file_write_all(fd, chunk, (size_t)n);
		if (r < 0)
			return mvm_error_set(err, r, "'%s': %s", path, strerror(-r));
	}
	return n < 0 ? failed(err, path) : 0;
}

/* Octal, as in 0644. */
static int parse_mode(const char *text, mode_t *ret, struct mvm_error *err)
{
	size_t len = strspn(text, "01234567");
	if (len == 0 || len > 4 || text[len])
		return mvm_error_set(err, -EINVAL, "'%s' is no mode", text);
	*ret = (mode_t)strtoul(text, NULL, 8);
	return 0;
}

/* Write an open file, which gets path's name at the end.
 *   beside  its name now; "" if it is path
 *   mode    NULL: stays */
static int fill(int fd, const char *path, const char *beside, const mode_t *mode,
		const struct user *user, struct mvm_error *err)
{
	if (fchown(fd, user->uid, user->gid) < 0 || (mode && fchmod(fd, *mode) < 0))
		return failed(err, path);
	int r = copy_input(fd, path, err);
	if (r < 0 || !*beside)
		return r;
	if (rename(beside, path) == 0)
		return 0;
	r = failed(err, path);
	unlink(beside);
	return r == -EBUSY ? write_over(fd, path, err) : r;
}

/* As O_TRUNC does, which changes only regular files. */
static int empty(int fd, const char *path, struct mvm_error *err)
{
	return ftruncate(fd, 0) < 0 && errno != EINVAL ? failed(err, path) : 0;
}

/* The n-th argument of a verb, or "". */
static const char *arg(const struct strv *args, size_t n)
{
	return args->n > n ? args->v[n] : "";
}

static int do_write(const char *path, const struct strv *args, const struct user *user,
		    struct mvm_error *err)
{
	const char *mode = arg(args, 2), *metadata = args->n > 4 ? args->v[4] : NULL;
	bool whole = str_eq(arg(args, 3), "whole");
	char beside[PATH_MAX] = "";
	AUTO_DONE(strbuf) kept = { 0 };
	struct stat st;
	mode_t own_mode = 0644, wanted = 0;
	int r = *mode ? parse_mode(mode, &wanted, err) : 0;
	if (r == 0)
		r = make_above(path, user, err);
	if (r < 0)
		return r;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return mvm_error_set(err, -EISDIR, "'%s' is a folder", path);
	bool is_new = lstat(path, &st) < 0;
	AUTO_CLOSE int fd = whole ? open_beside(path, beside, &own_mode) : -1;
	if (fd < 0)
		fd = open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0644);
	if (fd < 0)
		return failed(err, path);
	if (*beside && !metadata) {
		metadata_read(path, &kept);
		metadata = kept.data;
	}
	if (!*mode)
		wanted = own_mode;
	/* before the old contents go */
	r = metadata ? metadata_write(fd, metadata, err) : 0;
	if (r < 0 && is_new)
		unlink(path);
	/* a new file has nothing to lose, and its watchers see one write less */
	if (r == 0 && !*beside && !(is_new && fstat(fd, &st) == 0 && st.st_size == 0))
		r = empty(fd, path, err);
	if (r == 0)
		r = fill(fd, path, beside, *mode || *beside ? &wanted : NULL, user, err);
	if (r < 0 && *beside)
		unlink(beside);
	return r < 0 ? r : files_put_entry(path, err);
}

static int run(const struct strv *args, const struct user *user, struct mvm_error *err)
{
	static char path[PATH_MAX], to[PATH_MAX];
	const char *verb = args->v[0];
	const char *more = arg(args, 2);
	uint64_t depth = 1;

	if (args->n < 2)
		return mvm_error_set(err, -EINVAL, "no path was given");
	int r = files_resolve(user, args->v[1], path, err);
	if (r < 0)
		return r;
	if (str_eq(verb, "stat"))
		return files_put_entry(path, err);
	if (str_eq(verb, "list")) {
		if (more[0] && parse_u64(more, 1, UINT32_MAX, &depth) < 0)
			return mvm_error_set(err, -EINVAL, "the depth must be at least 1");
		lists = true;
		return list_below(path, (unsigned)depth, 0, err);
	}
	if (str_eq(verb, "mkdir"))
		return do_mkdir(path, user, err);
	if (str_eq(verb, "move")) {
		r = files_resolve(user, more, to, err);
		return r < 0 ? r : do_move(path, to, user, err);
	}
	if (str_eq(verb, "remove"))
		return do_remove(path, err);
	if (str_eq(verb, "read"))
		return do_read(path, more, arg(args, 3), err);
	if (str_eq(verb, "write"))
		return do_write(path, args, user, err);
	if (str_eq(verb, "watch"))
		return files_watch(path, args->v + 2, err);
	return mvm_error_set(err, -EOPNOTSUPP, "the agent does not know '%s'", verb);
}

int files_run(const struct strv *args, const struct user *user)
{
	struct mvm_error err = { 0 };
	umask(022);
	int r = run(args, user, &err);
	if (fflush(stdout) != 0 && r == 0)
		r = mvm_error_set(&err, -EIO, "cannot write the stream");
	return copy_report(r, &err);
}
