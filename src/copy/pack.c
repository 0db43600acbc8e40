/* SPDX-License-Identifier: Apache-2.0 */
#include "copy/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "copy/links.h"
#include "copy/some.h"

#define WHOLE_MAX   65536u /* a source of at most this size is read before its header is written */
#define WHOLE_LIMIT (1u << 20)

/* A folder that is being read. */
struct level {
	int fd;
	struct strv names;
	size_t next;
	size_t path_len; /* of the folder's own path */
	dev_t device;
};

struct pack {
	struct strbuf head; /* headers and padding to hand out */
	size_t head_used;
	struct strbuf path; /* of the current entry, in the stream */
	int file_fd;	    /* -1: none */
	bool begun;	    /* its header is written */
	struct stat file;
	struct tar_map map; /* empty: the file is not sparse */
	size_t extent;	    /* that is being read, with a map */
	uint64_t done;	    /* bytes of it, or of the file without a map */
	struct level levels[PACK_DEPTH_MAX];
	unsigned depth;
	bool ended;
	unsigned flags;
	struct some left_out, unread;
	const struct pack_below *below; /* of a root file system; NULL: a copy */
	struct links links;
	struct strbuf xattrs; /* of the next entry, as tar.h wants them */
};

static void leave_out(struct pack *p)
{
	char quoted[SOME_TEXT_MAX];
	snprintf(quoted, sizeof(quoted), "'%.*s'", (int)sizeof(quoted) - 3, p->path.data);
	some_add(&p->left_out, quoted);
}

/* With PACK_GO_ON an entry that cannot be read is skipped, and reported at the end. */
static int forgive(struct pack *p, int r, struct mvm_error *err)
{
	return p->flags & PACK_GO_ON ? some_forgive(&p->unread, r, err) : r;
}

static int cannot(struct pack *p, int r, const char *what, struct mvm_error *err)
{
	return mvm_error_set(err, r, "cannot %s '%s': %s", what, p->path.data, strerror(-r));
}

/* Read the extended attributes of the next entry. */
static int read_xattrs(struct pack *p, int fd, struct mvm_error *err)
{
	char names[XATTR_LIST_MAX], value[XATTR_SIZE_MAX];

	p->xattrs.len = 0;
	if (!p->below)
		return 0;
	ssize_t len = flistxattr(fd, names, sizeof(names));
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : cannot(p, -errno, "read", err);
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		if (str_starts(name, "system.") || strchr(name, '='))
			continue;
		ssize_t n = fgetxattr(fd, name, value, sizeof(value));
		if (n < 0)
			return cannot(p, -errno, "read", err);
		tar_write_xattr(&p->xattrs, name, value, (size_t)n);
	}
	return p->xattrs.failed ? mvm_error_oom(err) : 0;
}

/* Add what only a root file system's entries have. */
static void add_attributes(const struct pack *p, const struct stat *st, struct tar_entry *e)
{
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	e->major = major(st->st_rdev);
	e->minor = minor(st->st_rdev);
	e->mtime_ns = 0;
	bool has = (e->type == TAR_FILE || e->type == TAR_FOLDER) && p->xattrs.len;
	e->xattrs = has ? &p->xattrs : NULL;
}

static int put_entry(struct pack *p, enum tar_type type, const struct stat *st, const char *target,
		     const struct tar_map *map, struct mvm_error *err)
{
	size_t len = p->path.len;
	if (len >= TAR_PATH_MAX)
		return cannot(p, -ENAMETOOLONG, "copy", err);
	if (type == TAR_FOLDER)
		strbuf_adds(&p->path, "/"); /* the usual form of folders */
	if (p->path.failed)
		return mvm_error_oom(err);
	struct tar_entry e = {
		.type = type,
		.path = p->path.data,
		.target = target,
		.mode = st->st_mode & 07777,
		.size = type == TAR_FILE ? (uint64_t)st->st_size : 0,
		.mtime_s = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
		.map = map,
	};
	if (p->below)
		add_attributes(p, st, &e);
	tar_write_header(&p->head, &e);
	p->path.len = len;
	p->path.data[len] = '\0';
	return p->head.failed ? mvm_error_oom(err) : 0;
}

/* Add the names that a folder has only below. */
static void add_below(const struct pack *p, struct strv *names)
{
	const char *here = p->path.len > 2 ? p->path.data + 2 : ""; /* without "./" */

	for (size_t i = 0; p->below && i < p->below->paths->n; i++) {
		const char *path = p->below->paths->v[i], *slash = strrchr(path, '/');
		size_t len = slash ? (size_t)(slash - path) : 0;
		const char *name = slash ? slash + 1 : path;
		if (strlen(here) == len && memcmp(here, path, len) == 0 && !strv_has(names, name))
			strv_add(names, name);
	}
}

static int begin_folder(struct pack *p, int fd, dev_t device, struct mvm_error *err)
{
	if (p->depth == PACK_DEPTH_MAX)
		return mvm_error_set(err, -ELOOP, "'%s' is deeper than %u folders", p->path.data,
				     PACK_DEPTH_MAX);
	struct level *l = &p->levels[p->depth];
	*l = (struct level){ .fd = -1, .path_len = p->path.len, .device = device };
	int r = dir_list(fd, &l->names);
	add_below(p, &l->names);
	if (r == 0 && l->names.failed)
		r = -ENOMEM;
	if (r < 0) {
		strv_done(&l->names);
		return cannot(p, r, "read", err);
	}
	l->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	p->depth++; /* pack_free() takes it from here */
	return l->fd < 0 ? cannot(p, -errno, "read", err) : 0;
}

/* Is /proc or /sys mounted here?  A copy of a root does not want their memory, processes and
 * switches, and not all of them can be read. */
static bool is_kernel_mount(const struct pack *p, int fd, dev_t device)
{
	struct statfs fs;
	return p->depth > 0 && p->levels[p->depth - 1].device != device && fstatfs(fd, &fs) == 0 &&
	       (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC);
}

/*
 * Take a small file, with its size as read: /proc claims a size of 0 and /sys one of 4096.
 *
 * Returns 1, or 0 for a file that must be read piece by piece.
 */
static int take_whole(struct pack *p, int fd, struct stat *st, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	if (st->st_size > WHOLE_MAX)
		return 0;
	int r = file_read_fd(fd, WHOLE_LIMIT, &text, &len);
	if (r == -EFBIG && st->st_size > 0) /* it grows: pack the size it had at first */
		return lseek(fd, 0, SEEK_SET) < 0 ? cannot(p, -errno, "read", err) : 0;
	if (r < 0)
		return cannot(p, r, "read", err);
	st->st_size = (off_t)len;
	r = put_entry(p, TAR_FILE, st, "", NULL, err);
	if (r < 0)
		return r;
	strbuf_add(&p->head, text, len);
	tar_write_padding(&p->head, len);
	return p->head.failed ? mvm_error_oom(err) : 1;
}

/* Begin an entry from an open file.  first: this is the source itself. */
static int take_opened(struct pack *p, int fd, bool first, struct mvm_error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return cannot(p, -errno, "read", err);
	if (S_ISDIR(st.st_mode)) {
		int r = read_xattrs(p, fd, err);
		if (r == 0)
			r = put_entry(p, TAR_FOLDER, &st, "", NULL, err);
		if (r < 0 || is_kernel_mount(p, fd, st.st_dev))
			return r;
		return begin_folder(p, fd, st.st_dev, err);
	}
	if (!S_ISREG(st.st_mode)) { /* replaced since we looked */
		leave_out(p);
		return 0;
	}
	int r = first ? take_whole(p, fd, &st, err) : 0;
	if (r != 0)
		return r < 0 ? r : 0;
	p->file_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (p->file_fd < 0)
		return cannot(p, -errno, "read", err);
	p->file = st;
	p->begun = false;
	return 0;
}

/* Write the header of the opened file. */
static int begin_file(struct pack *p, struct mvm_error *err)
{
	uint64_t size = (uint64_t)p->file.st_size, held = (uint64_t)p->file.st_blocks * 512;
	p->begun = true;
	p->extent = 0;
	p->done = 0;
	tar_map_done(&p->map);
	if (p->flags & PACK_HOLES && held < size &&
	    tar_map_scan(p->file_fd, size, TAR_EXTENTS_MAX, &p->map) < 0)
		return mvm_error_oom(err);
	int r = read_xattrs(p, p->file_fd, err);
	if (r == 0)
		r = put_entry(p, TAR_FILE, &p->file, "", p->map.n ? &p->map : NULL, err);
	if (r < 0)
		close(TAKE_FD(p->file_fd)); /* only read */
	return forgive(p, r, err);
}

static int take_link(struct pack *p, int dir_fd, const char *name, const struct stat *st,
		     struct mvm_error *err)
{
	char target[TAR_PATH_MAX + 1];
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target));
	if (n < 0)
		return errno == ENOENT ? 0 : cannot(p, -errno, "read", err);
	if (n == (ssize_t)sizeof(target))
		return cannot(p, -ENAMETOOLONG, "copy", err);
	target[n] = '\0';
	return put_entry(p, TAR_SYMLINK, st, target, NULL, err);
}

/* Take what only a root file system's stream has: a further name of a file, a device, a pipe.
 * Returns 1, or 0 when it is none of these. */
static int take_special(struct pack *p, const struct stat *st, struct mvm_error *err)
{
	const char *first = NULL;

	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1 &&
	    links_first(&p->links, st, p->path.data, &first) < 0)
		return mvm_error_oom(err);
	enum tar_type type = TAR_HARDLINK;
	if (S_ISCHR(st->st_mode))
		type = TAR_CHAR;
	else if (S_ISBLK(st->st_mode))
		type = TAR_BLOCK_DEVICE;
	else if (S_ISFIFO(st->st_mode))
		type = TAR_PIPE;
	else if (!first)
		return 0;
	int r = put_entry(p, first ? TAR_HARDLINK : type, st, first ? first : "", NULL, err);
	return r < 0 ? r : 1;
}

/* Begin one entry.  first: this is the source, which must exist. */
static int take(struct pack *p, int dir_fd, const char *name, int at_flags, bool first,
		struct mvm_error *err)
{
	struct stat st;
	if (fstatat(dir_fd, name, &st, at_flags) < 0)
		return (errno == ENOENT || errno == ENOTDIR) && !first
			       ? 0
			       : cannot(p, -errno, "read", err);
	int special = p->below ? take_special(p, &st, err) : 0;
	if (special != 0)
		return special < 0 ? special : 0;
	if (S_ISLNK(st.st_mode))
		return take_link(p, dir_fd, name, &st, err);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		leave_out(p);
		return 0;
	}
	int no_follow = at_flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0;
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | no_follow);
	if (fd < 0 && !first && (errno == ENOENT || errno == ELOOP))
		return 0; /* it was removed, or replaced by a link, just now */
	if (fd < 0)
		return cannot(p, -errno, "read", err);
	return take_opened(p, fd, first, err);
}

static void leave_folder(struct pack *p)
{
	struct level *l = &p->levels[--p->depth];
	if (l->fd >= 0)
		close(l->fd); /* only read */
	strv_done(&l->names);
}

/* Begin the next entry, or the end of the stream. */
static int advance(struct pack *p, struct mvm_error *err)
{
	while (p->head.len == 0 && p->file_fd < 0) {
		if (p->depth == 0) {
			tar_write_end(&p->head);
			p->ended = true;
			return p->head.failed ? mvm_error_oom(err) : 0;
		}
		struct level *l = &p->levels[p->depth - 1];
		if (l->next == l->names.n) {
			leave_folder(p);
			continue;
		}
		const char *name = l->names.v[l->next++];
		p->path.len = l->path_len;
		strbuf_addf(&p->path, "/%s", name);
		if (p->path.failed)
			return mvm_error_oom(err);
		int dir_fd = l->fd;
		if (p->below && strv_has(p->below->paths, p->path.data + 2)) {
			dir_fd = p->below->dir_fd;
			name = p->path.data + 2;
		}
		int r = forgive(p, take(p, dir_fd, name, AT_SYMLINK_NOFOLLOW, false, err), err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int end_file(struct pack *p, uint64_t stored, struct mvm_error *err)
{
	close(TAKE_FD(p->file_fd)); /* only read */
	tar_write_padding(&p->head, stored);
	return p->head.failed ? mvm_error_oom(err) : 0;
}

/* The next bytes of the file; 0 at its end. */
static ssize_t read_file(struct pack *p, void *data, size_t len, struct mvm_error *err)
{
	const struct tar_extent whole = { .len = (uint64_t)p->file.st_size }, *e = &whole;
	if (p->map.n) {
		for (e = &p->map.v[p->extent]; p->done == e->len && p->extent + 1 < p->map.n; e++) {
			p->extent++;
			p->done = 0;
		}
	}
	uint64_t left = e->len - p->done;
	size_t want = left < len ? (size_t)left : len;
	if (want == 0)
		return end_file(p, p->map.n ? p->map.stored : whole.len, err);
	ssize_t n;
	do
		n = pread(p->file_fd, data, want, (off_t)(e->at + p->done));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return cannot(p, -errno, "read", err);
	if (n == 0) { /* it shrank: fill up to the size in the header */
		memset(data, 0, want);
		n = (ssize_t)want;
	}
	p->done += (uint64_t)n;
	return n;
}

static int tell_unread(const struct pack *p, struct mvm_error *err)
{
	return mvm_error_set(err, p->unread.code, "%llu of the files could not be read: %s",
			     (unsigned long long)p->unread.n, some_text(&p->unread));
}

void pack_holes(struct pack *p)
{
	p->flags |= PACK_HOLES;
}

ssize_t pack_read(struct pack *p, void *data, size_t len, struct mvm_error *err)
{
	for (;;) {
		size_t left = p->head.len - p->head_used;
		if (left > 0) {
			size_t n = left < len ? left : len;
			memcpy(data, p->head.data + p->head_used, n);
			p->head_used += n;
			return (ssize_t)n;
		}
		p->head.len = p->head_used = 0;
		if (p->file_fd >= 0 && !p->begun) {
			int r = begin_file(p, err);
			if (r < 0)
				return r;
			continue;
		}
		if (p->file_fd >= 0) {
			ssize_t n = read_file(p, data, len, err);
			if (n != 0)
				return n;
			continue; /* its end */
		}
		if (p->ended)
			return p->unread.n ? tell_unread(p, err) : 0;
		int r = advance(p, err);
		if (r < 0)
			return r;
	}
}

static int open_stream(int dir_fd, const char *path, const char *name, unsigned flags,
		       const struct pack_below *below, struct pack **ret, struct mvm_error *err)
{
	AUTO(pack) p = calloc(1, sizeof(*p));
	if (!p)
		return mvm_error_oom(err);
	p->file_fd = -1;
	p->flags = flags;
	p->below = below;
	strbuf_adds(&p->path, path); /* for errors about the source itself */
	if (p->path.failed)
		return mvm_error_oom(err);
	bool contents = str_eq(name, ".");
	struct stat st;
	int at_flags = flags & PACK_FOLLOW || contents ? 0 : AT_SYMLINK_NOFOLLOW;
	if (fstatat(dir_fd, path, &st, at_flags) < 0)
		return cannot(p, -errno, "read", err);
	if (contents && !S_ISDIR(st.st_mode))
		return cannot(p, -ENOTDIR, "read", err);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
		return mvm_error_set(err, -EINVAL, "'%s' is neither file nor folder nor link",
				     path);
	p->path.len = 0;
	strbuf_adds(&p->path, name);
	if (p->path.failed)
		return mvm_error_oom(err);
	int r = take(p, dir_fd, path, at_flags, true, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

int pack_open(int dir_fd, const char *path, const char *name, unsigned flags, struct pack **ret,
	      struct mvm_error *err)
{
	return open_stream(dir_fd, path, name, flags, NULL, ret, err);
}

int pack_open_root(int dir_fd, const struct pack_below *below, struct pack **ret,
		   struct mvm_error *err)
{
	return open_stream(dir_fd, ".", ".", PACK_HOLES, below, ret, err);
}

void pack_note(const struct pack *p, struct strbuf *to)
{
	if (p->left_out.n)
		strbuf_addf(to, "left out %llu devices, pipes or sockets: %s",
			    (unsigned long long)p->left_out.n, some_text(&p->left_out));
}

void pack_free(struct pack *p)
{
	if (!p)
		return;
	while (p->depth > 0)
		leave_folder(p);
	if (p->file_fd >= 0)
		close(p->file_fd); /* only read */
	strbuf_done(&p->head);
	strbuf_done(&p->path);
	tar_map_done(&p->map);
	some_done(&p->left_out);
	some_done(&p->unread);
	links_done(&p->links);
	strbuf_done(&p->xattrs);
	free(p);
}
