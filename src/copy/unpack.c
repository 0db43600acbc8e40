/* SPDX-License-Identifier: Apache-2.0 */
#include "copy/unpack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "copy/place.h"
#include "copy/some.h"

#define TEMPORARY_SIZE 32

/* A folder on the way to the current entry. */
struct level {
	int fd;
	char *name;
	bool made;	/* by us */
	bool described; /* the stream had an entry for it */
	mode_t mode;
	struct timespec mtime;
};

struct unpack {
	struct tar_reader reader;
	unsigned flags;
	char *top;  /* stored name of the only top entry; NULL: any */
	char *from; /* its name in the stream; NULL: not known yet */
	struct unpack_owner owner;
	mode_t umask; /* with UNPACK_GUARDED */
	uint64_t bytes_left, entries_left;
	struct level levels[UNPACK_DEPTH_MAX + 1]; /* the first one is the place itself */
	unsigned n_levels;
	int file_fd;			/* being written, -1: none */
	uint64_t file_left;		/* bytes still to come */
	char temporary[TEMPORARY_SIZE]; /* beside its place, in the last level; "": no name yet */
	char *file_name;
	mode_t file_mode;
	struct timespec file_mtime;
	struct some missed; /* with UNPACK_GO_ON */
};

static int cannot(int r, const char *what, const char *path, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot %s '%s': %s", what, path, strerror(-r));
}

/* With UNPACK_GO_ON a failure costs one file, and is reported at the end. */
static int forgive(struct unpack *u, int r, struct mvm_error *err)
{
	return u->flags & UNPACK_GO_ON ? some_forgive(&u->missed, r, err) : r;
}

/* Paths -------------------------------------------------------------------------------------- */

/* The components of a path in the stream, as they are stored. */
static int split(struct unpack *u, const char *path, struct strv *ret, struct mvm_error *err)
{
	if (path[0] == '/')
		return mvm_error_set(err, -EPERM, "refused: '%s' is an absolute path", path);
	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");
		if (len == 2 && memcmp(p, "..", 2) == 0)
			return mvm_error_set(err, -EPERM, "refused: '%s' leads upwards", path);
		if (len > 255)
			return cannot(-ENAMETOOLONG, "make", path, err);
		if (len > 0 && !(len == 1 && *p == '.'))
			strv_addn(ret, p, len);
		p += len + (p[len] == '/');
	}
	if (ret->failed)
		return mvm_error_oom(err);
	if (ret->n > UNPACK_DEPTH_MAX)
		return mvm_error_set(err, -ELOOP, "'%s' is deeper than %u folders", path,
				     UNPACK_DEPTH_MAX);
	if (!u->top)
		return 0;
	if (ret->n > 0 && !u->from) {
		u->from = strdup(ret->v[0]);
		if (!u->from)
			return mvm_error_oom(err);
	}
	if (ret->n == 0 || !str_eq(ret->v[0], u->from))
		return mvm_error_set(err, -EBADMSG, "refused: '%s' was not asked for", path);
	char *name = strdup(u->top);
	if (!name)
		return mvm_error_oom(err);
	free(ret->v[0]);
	ret->v[0] = name;
	return 0;
}

/* The mode to set.  before: the old mode, or 0. */
static mode_t allowed_mode(const struct unpack *u, mode_t wanted, mode_t before)
{
	if (!(u->flags & UNPACK_GUARDED))
		return wanted;
	return (wanted & ~u->umask) | (u->flags & UNPACK_KEEP_SAME ? wanted & before : 0);
}

static int own(const struct unpack *u, int dir_fd, const char *name, int flags)
{
	if (!(u->flags & UNPACK_OWNED) ||
	    fchownat(dir_fd, name, u->owner.uid, u->owner.gid, flags) == 0)
		return 0;
	return -errno;
}

static int own_fd(const struct unpack *u, int fd)
{
	return own(u, fd, "", AT_EMPTY_PATH);
}

/* Leave the last folder, and set its mode and time now that nothing more is made in it. */
static int leave_folder(struct unpack *u, struct mvm_error *err)
{
	struct level *l = &u->levels[--u->n_levels];
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, l->mtime };
	const char *name = l->name ? l->name : "."; /* the place has none */
	struct stat st;
	int r = 0;

	if (l->described && fstat(l->fd, &st) == 0) {
		if ((st.st_mode & 07777) != l->mode && fchmod(l->fd, l->mode) < 0)
			r = cannot(-errno, "set the mode of", name, err);
		else if ((st.st_mtim.tv_sec != l->mtime.tv_sec ||
			  st.st_mtim.tv_nsec != l->mtime.tv_nsec) &&
			 futimens(l->fd, times) < 0)
			r = cannot(-errno, "set the time of", name, err);
	}
	close(l->fd); /* a folder */
	free(l->name);
	return r;
}

static bool is_link(int parent_fd, const char *name)
{
	struct stat st;
	return fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

/* Open a folder, or make it if it is missing; never through a link.  described: the stream has an
 * entry for it. */
static int open_folder(const struct unpack *u, int parent_fd, const char *name, bool described,
		       bool *ret_made)
{
	int fd = dir_open_at(parent_fd, name);
	*ret_made = false;
	if ((fd == -ELOOP || fd == -ENOTDIR) && described && u->flags & UNPACK_REPLACE_LINKS &&
	    is_link(parent_fd, name))
		fd = unlinkat(parent_fd, name, 0) < 0 ? -errno : -ENOENT;
	if (fd != -ENOENT)
		return fd;
	*ret_made = mkdirat(parent_fd, name, 0755) == 0;
	if (!*ret_made && errno != EEXIST)
		return -errno;
	fd = dir_open_at(parent_fd, name);
	int r = fd >= 0 && *ret_made ? own_fd(u, fd) : 0;
	if (r < 0)
		close(fd); /* a folder */
	return r < 0 ? r : fd;
}

/* Make the folder of the first n components the current one.  described: the last of them has an
 * entry. */
static int enter(struct unpack *u, const struct strv *parts, size_t n, bool described,
		 const char *path, struct mvm_error *err)
{
	size_t same = 0;
	assert(n == 0 || parts->v);
	while (same < n && same + 1 < u->n_levels &&
	       str_eq(u->levels[same + 1].name, parts->v[same]))
		same++;
	while (u->n_levels > same + 1) {
		int r = forgive(u, leave_folder(u, err), err);
		if (r < 0)
			return r;
	}
	for (size_t i = same; i < n; i++) {
		char *name = strdup(parts->v[i]);
		if (!name)
			return mvm_error_oom(err);
		bool made;
		int fd = open_folder(u, u->levels[u->n_levels - 1].fd, name,
				     described && i + 1 == n, &made);
		if (fd < 0)
			free(name);
		if (fd == -ELOOP || fd == -ENOTDIR)
			return mvm_error_set(err, fd == -ELOOP ? -EPERM : fd,
					     "refused: '%s' passes through '%s', which is no "
					     "folder",
					     path, parts->v[i]);
		if (fd < 0)
			return cannot(fd, "make", path, err);
		u->levels[u->n_levels++] = (struct level){ .fd = fd, .name = name, .made = made };
	}
	return 0;
}

static int place_fd(const struct unpack *u)
{
	return u->levels[u->n_levels - 1].fd;
}

/* Entries ------------------------------------------------------------------------------------ */

static void make_temporary(struct unpack *u)
{
	uint8_t random[8];
	char hex[2 * sizeof(random) + 1];
	random_bytes(random, sizeof(random));
	str_hex(random, sizeof(random), hex);
	snprintf(u->temporary, sizeof(u->temporary), ".mvm-%s", hex);
}

static void drop_temporary(struct unpack *u)
{
	if (u->temporary[0])
		unlinkat(place_fd(u), u->temporary, 0); /* another failure is being reported */
	u->temporary[0] = '\0';
}

/* Drop the current, incomplete file. */
static void drop_file(struct unpack *u)
{
	if (u->file_fd >= 0)
		close(TAKE_FD(u->file_fd)); /* never to be read */
	drop_temporary(u);
	free(TAKE_PTR(u->file_name));
}

/* Make a file without a name, so that a killed copy leaves nothing behind.  On a file system
 * without O_TMPFILE the file has a temporary name until it is whole.  Replacing an existing file
 * needs a rename, so for that moment it has a temporary name in any case. */
static int open_file(struct unpack *u, const struct tar_entry *e, struct mvm_error *err)
{
	u->file_fd = openat(place_fd(u), ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	if (u->file_fd < 0 && errno == EOPNOTSUPP) {
		make_temporary(u);
		u->file_fd = openat(place_fd(u), u->temporary,
				    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (u->file_fd < 0)
			u->temporary[0] = '\0';
	}
	if (u->file_fd < 0 || ftruncate(u->file_fd, (off_t)e->size) < 0)
		return cannot(-errno, "make", e->path, err);
	u->file_left = tar_stored_bytes(e);
	return 0;
}

static int rename_temporary(struct unpack *u, const char *name, struct mvm_error *err)
{
	int fd = place_fd(u);
	if (renameat(fd, u->temporary, fd, name) < 0) {
		int r = -errno;
		drop_temporary(u);
		return cannot(r, "make", name, err);
	}
	unlinkat(fd, u->temporary, 0); /* rename(2) keeps it when both were the same file */
	u->temporary[0] = '\0';
	return 0;
}

/* The target of a symbolic or hard link. */
struct link {
	int from_fd; /* with a hard link */
	const char *target;
	bool hard;
};

static int make_link(const struct link *l, int fd, const char *name)
{
	int follow = l->from_fd == AT_FDCWD ? AT_SYMLINK_FOLLOW : 0;
	int r = l->hard ? linkat(l->from_fd, l->target, fd, name, follow)
			: symlinkat(l->target, fd, name);
	return r < 0 ? -errno : 0;
}

/* Make a link under its name, or under a temporary name that then replaces the existing file. */
static int place_link(struct unpack *u, const struct link *l, const char *name,
		      const struct timespec times[2], struct mvm_error *err)
{
	int fd = place_fd(u);
	int r = make_link(l, fd, name);
	bool there = r == -EEXIST;
	if (there) {
		make_temporary(u);
		r = make_link(l, fd, u->temporary);
		if (r < 0)
			u->temporary[0] = '\0';
	}
	if (r < 0)
		return cannot(r, "make", name, err);
	const char *now = there ? u->temporary : name;
	if (times) {
		/* may fail: some file systems have no times of links */
		utimensat(fd, now, times, AT_SYMLINK_NOFOLLOW);
		r = own(u, fd, now, AT_SYMLINK_NOFOLLOW);
	}
	if (r < 0) {
		drop_temporary(u);
		return cannot(r, "set the owner of", name, err);
	}
	return there ? rename_temporary(u, name, err) : 0;
}

static int name_file(struct unpack *u, struct mvm_error *err)
{
	char path[FD_PATH_SIZE];
	const struct link l = { .from_fd = AT_FDCWD, .target = path, .hard = true };
	if (u->temporary[0])
		return rename_temporary(u, u->file_name, err);
	fd_path(u->file_fd, path);
	return place_link(u, &l, u->file_name, NULL, err);
}

/* Note the stream's mode and time of a folder.  leave_folder() sets them. */
static int describe_folder(struct unpack *u, struct level *l, const struct tar_entry *e,
			   struct mvm_error *err)
{
	struct stat st;
	if (fstat(l->fd, &st) < 0)
		return cannot(-errno, "look at", e->path, err);
	l->described = true;
	l->mtime = (struct timespec){ e->mtime_s, e->mtime_ns };
	if (l->made)
		l->mode = allowed_mode(u, e->mode, 0);
	else if (u->flags & UNPACK_KEEP_SAME)
		l->mode = allowed_mode(u, e->mode, st.st_mode);
	else
		l->mode = st.st_mode & 07777;
	int r = !l->made && u->flags & UNPACK_OWN_FOLDERS ? own_fd(u, l->fd) : 0;
	if (r < 0)
		return cannot(r, "set the owner of", e->path, err);
	/* so that files can be made in it */
	if (l->made && fchmod(l->fd, l->mode | 0700) < 0)
		return cannot(-errno, "set the mode of", e->path, err);
	return 0;
}

static int take_folder(struct unpack *u, const struct strv *parts, const struct tar_entry *e,
		       struct mvm_error *err)
{
	int r = enter(u, parts, parts->n, true, e->path, err);
	if (r < 0)
		return r;
	if (parts->n == 0 && !(u->flags & UNPACK_OWNED))
		return 0; /* the destination itself is the user's: do not change it */
	return describe_folder(u, &u->levels[u->n_levels - 1], e, err);
}

/* Does the file exist with the wanted size, time and mode?  Also sets u->file_mode. */
static bool is_same_file(struct unpack *u, const char *name, const struct tar_entry *e)
{
	struct stat st;
	bool there = (u->flags & UNPACK_KEEP_SAME) &&
		     fstatat(place_fd(u), name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		     S_ISREG(st.st_mode);
	u->file_mode = allowed_mode(u, e->mode, there ? st.st_mode : 0);
	return there && (uint64_t)st.st_size == e->size && (st.st_mode & 07777) == u->file_mode &&
	       st.st_mtim.tv_sec == e->mtime_s && st.st_mtim.tv_nsec == e->mtime_ns;
}

static int finish_file(struct unpack *u, struct mvm_error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, u->file_mtime };
	int r = 0;
	if (own_fd(u, u->file_fd) < 0 || fchmod(u->file_fd, u->file_mode) < 0 ||
	    futimens(u->file_fd, times) < 0)
		r = cannot(-errno, "set owner, mode and time of", u->file_name, err);
	if (r == 0)
		r = name_file(u, err);
	if (close(TAKE_FD(u->file_fd)) < 0 && r == 0)
		r = cannot(-errno, "write", u->file_name, err);
	free(TAKE_PTR(u->file_name));
	return r;
}

static int take_file(struct unpack *u, const char *name, const struct tar_entry *e,
		     struct mvm_error *err)
{
	if (is_same_file(u, name, e))
		return 0; /* take_data() drops its contents */
	uint64_t stored = tar_stored_bytes(e);
	if (stored > u->bytes_left)
		return mvm_error_set(
			err, -EFBIG, "'%s' has %llu bytes, and only %llu more may be copied",
			e->path, (unsigned long long)stored, (unsigned long long)u->bytes_left);
	u->bytes_left -= stored;
	u->file_name = strdup(name);
	if (!u->file_name)
		return mvm_error_oom(err);
	int r = open_file(u, e, err);
	if (r < 0)
		return r;
	u->file_mtime = (struct timespec){ e->mtime_s, e->mtime_ns };
	return stored == 0 ? finish_file(u, err) : 0;
}

static int take_symlink(struct unpack *u, const char *name, const struct tar_entry *e,
			struct mvm_error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { e->mtime_s, e->mtime_ns } };
	char old[TAR_PATH_MAX + 1];
	int fd = place_fd(u);

	ssize_t n = u->flags & UNPACK_KEEP_SAME ? readlinkat(fd, name, old, sizeof(old)) : -1;
	if (n == (ssize_t)strlen(e->target) && memcmp(old, e->target, (size_t)n) == 0)
		return 0;
	const struct link l = { .target = e->target };
	return place_link(u, &l, name, times, err);
}

/* Open the folder of an earlier entry, from the destination down; never through a link. */
static int open_parent(const struct unpack *u, const struct strv *parts)
{
	int fd = fcntl(u->levels[0].fd, F_DUPFD_CLOEXEC, 3);
	for (size_t i = 0; fd >= 0 && i + 1 < parts->n; i++) {
		int below = dir_open_at(fd, parts->v[i]);
		close(fd); /* a folder */
		fd = below;
	}
	return fd;
}

static int take_hardlink(struct unpack *u, const char *name, const struct tar_entry *e,
			 struct mvm_error *err)
{
	AUTO_DONE(strv) parts = { 0 };
	int r = split(u, e->target, &parts, err);
	if (r == 0 && parts.n == 0)
		r = mvm_error_set(err, -EBADMSG, "'%s' is a link to nothing", e->path);
	if (r < 0)
		return r;
	assert(parts.v);
	AUTO_CLOSE int from_fd = open_parent(u, &parts);
	if (from_fd < 0)
		return cannot(from_fd == -ELOOP ? -EPERM : from_fd, "link to", e->target, err);
	const struct link l = { .from_fd = from_fd, .target = parts.v[parts.n - 1], .hard = true };
	return place_link(u, &l, name, NULL, err);
}

static int take_leaf(struct unpack *u, const char *name, const struct tar_entry *e,
		     struct mvm_error *err)
{
	if (e->type == TAR_FILE)
		return take_file(u, name, e, err);
	if (e->type == TAR_SYMLINK)
		return take_symlink(u, name, e, err);
	return take_hardlink(u, name, e, err);
}

/* Make an entry that has passed the checks. */
static int make_entry(struct unpack *u, const struct strv *parts, const struct tar_entry *e,
		      struct mvm_error *err)
{
	if (e->type == TAR_FOLDER)
		return take_folder(u, parts, e, err);
	int r = enter(u, parts, parts->n - 1, false, e->path, err);
	if (r < 0)
		return r;
	assert(parts->v);
	r = take_leaf(u, parts->v[parts->n - 1], e, err);
	if (r < 0)
		drop_file(u);
	return r;
}

static int take_entry(void *arg, const struct tar_entry *read, struct mvm_error *err)
{
	struct unpack *u = arg;
	AUTO_DONE(strv) parts = { 0 };
	struct tar_entry e = *read;

	if (u->entries_left-- == 0)
		return mvm_error_set(err, -EFBIG, "more than %u files", UNPACK_ENTRIES_MAX);
	if (u->flags & UNPACK_GUARDED)
		e.mode &= 0777;
	int r = split(u, e.path, &parts, err);
	if (r == 0 && e.type == TAR_SPECIAL)
		r = mvm_error_set(err, -EPERM, "refused: '%s' is neither file nor folder nor link",
				  e.path);
	if (r == 0 && e.type != TAR_FILE && (u->flags & UNPACK_ONE_FILE))
		r = mvm_error_set(err, -EPERM, "refused: '%s' is no longer a regular file", e.path);
	if (r == 0 && e.type != TAR_FOLDER && parts.n == 0)
		r = mvm_error_set(err, -EBADMSG, "refused: '%s' names no file", e.path);
	return r < 0 ? r : forgive(u, make_entry(u, &parts, &e, err), err);
}

static int take_data(void *arg, uint64_t at, const void *data, size_t len, struct mvm_error *err)
{
	struct unpack *u = arg;
	if (u->file_fd < 0)
		return 0; /* contents of a file that is kept or left out */
	int r = file_write_sparse(u->file_fd, data, len, (off_t)at);
	if (r < 0)
		r = cannot(r, "write", u->file_name, err);
	u->file_left -= len;
	if (r == 0 && u->file_left == 0)
		r = finish_file(u, err);
	if (r < 0)
		drop_file(u); /* further contents of it are dropped */
	return forgive(u, r, err);
}

static int find_place(struct unpack *u, const struct unpack_options *o, struct mvm_error *err)
{
	struct unpack_place place;
	int r = unpack_place_open(o, &place, err);
	if (r < 0)
		return r;
	u->levels[0].fd = place.fd;
	u->levels[0].made = place.made;
	u->top = place.top;
	bool ours = place.made || (u->flags & UNPACK_CONTENTS && u->flags & UNPACK_OWN_FOLDERS);
	r = ours ? own_fd(u, place.fd) : 0;
	return r < 0 ? cannot(r, "set the owner of", o->path, err) : 0;
}

int unpack_open(const struct unpack_options *o, struct unpack **ret, struct mvm_error *err)
{
	bool failed = false;
	AUTO(unpack) u = calloc(1, sizeof(*u));
	if (!u)
		return mvm_error_oom(err);
	u->file_fd = u->levels[0].fd = -1;
	u->n_levels = 1;
	u->flags = o->flags;
	u->owner = o->owner;
	if (u->flags & UNPACK_GUARDED)
		u->umask = u->flags & UNPACK_UMASK ? o->umask : process_umask();
	u->bytes_left = o->max_bytes ? o->max_bytes : UINT64_MAX;
	u->entries_left = UNPACK_ENTRIES_MAX;
	u->reader.sink = (struct tar_sink){ take_entry, take_data, u };
	int r = find_place(u, o, err);
	if (r < 0)
		return r;
	if (o->name && u->top) { /* the caller tells the sender this name */
		u->from = str_dup(u->top, &failed);
		if (failed)
			return mvm_error_oom(err);
	}
	*ret = TAKE_PTR(u);
	return 0;
}

const char *unpack_name(const struct unpack *u)
{
	return u->top;
}

int unpack_write(struct unpack *u, const void *data, size_t len, struct mvm_error *err)
{
	return tar_read(&u->reader, data, len, err);
}

int unpack_finish(struct unpack *u, struct mvm_error *err)
{
	int r = tar_read_end(&u->reader, err);
	while (r == 0 && u->n_levels > (u->levels[0].described ? 0 : 1))
		r = forgive(u, leave_folder(u, err), err);
	if (r < 0 || u->missed.n == 0)
		return r;
	return mvm_error_set(err, u->missed.code, "%llu %s: %s", (unsigned long long)u->missed.n,
			     u->missed.n == 1 ? "file is missing" : "files are missing",
			     some_text(&u->missed));
}

void unpack_free(struct unpack *u)
{
	if (!u)
		return;
	drop_file(u);
	while (u->n_levels > 0) {
		struct level *l = &u->levels[--u->n_levels];
		if (l->fd >= 0)
			close(l->fd); /* a folder */
		free(l->name);
	}
	some_done(&u->missed);
	free(u->top);
	free(u->from);
	tar_reader_done(&u->reader);
	free(u);
}
