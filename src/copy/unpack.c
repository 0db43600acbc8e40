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
#include "copy/unpack_state.h"

static int take_folder(struct unpack *u, const struct strv *parts, const struct tar_entry *e,
		       struct mvm_error *err)
{
	int r = unpack_enter(u, parts, parts->n, true, e->path, err);
	if (r < 0)
		return r;
	if (parts->n == 0 && !(u->flags & UNPACK_OWNED))
		return 0; /* the destination itself is the user's: do not change it */
	return unpack_describe(u, &u->levels[u->n_levels - 1], e, err);
}

/* Does the file exist with the wanted size, time and mode?  Also sets u->file_mode. */
static bool is_same_file(struct unpack *u, const char *name, const struct tar_entry *e)
{
	struct stat st;
	bool there = (u->flags & UNPACK_KEEP_SAME) &&
		     fstatat(unpack_folder_fd(u), name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		     S_ISREG(st.st_mode);
	u->file_mode = unpack_mode(u, e->mode, there ? st.st_mode : 0);
	return there && (uint64_t)st.st_size == e->size && (st.st_mode & 07777) == u->file_mode &&
	       st.st_mtim.tv_sec == e->mtime_s && st.st_mtim.tv_nsec == e->mtime_ns;
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
	int r = unpack_open_file(u, e, err);
	if (r < 0)
		return r;
	u->file_mtime = (struct timespec){ e->mtime_s, e->mtime_ns };
	return stored == 0 ? unpack_finish_file(u, err) : 0;
}

static int take_symlink(struct unpack *u, const char *name, const struct tar_entry *e,
			struct mvm_error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { e->mtime_s, e->mtime_ns } };
	char old[TAR_PATH_MAX + 1];
	int fd = unpack_folder_fd(u);

	ssize_t n = u->flags & UNPACK_KEEP_SAME ? readlinkat(fd, name, old, sizeof(old)) : -1;
	if (n == (ssize_t)strlen(e->target) && memcmp(old, e->target, (size_t)n) == 0)
		return 0;
	const struct unpack_link l = { .target = e->target };
	return unpack_place_link(u, &l, name, times, err);
}

static int take_hardlink(struct unpack *u, const char *name, const struct tar_entry *e,
			 struct mvm_error *err)
{
	AUTO_DONE(strv) parts = { 0 };
	int r = unpack_split(u, e->target, &parts, err);
	if (r == 0 && parts.n == 0)
		r = mvm_error_set(err, -EBADMSG, "'%s' is a link to nothing", e->path);
	if (r < 0)
		return r;
	assert(parts.v);
	AUTO_CLOSE int from_fd = unpack_open_parent(u, &parts);
	if (from_fd < 0)
		return unpack_cannot(from_fd == -ELOOP ? -EPERM : from_fd, "link to", e->target,
				     err);
	const struct unpack_link l = { .from_fd = from_fd,
				       .target = parts.v[parts.n - 1],
				       .hard = true };
	return unpack_place_link(u, &l, name, NULL, err);
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
	int r = unpack_enter(u, parts, parts->n - 1, false, e->path, err);
	if (r < 0)
		return r;
	assert(parts->v);
	r = take_leaf(u, parts->v[parts->n - 1], e, err);
	if (r < 0)
		unpack_drop_file(u);
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
	int r = unpack_split(u, e.path, &parts, err);
	if (r == 0 && e.type == TAR_SPECIAL)
		r = mvm_error_set(err, -EPERM, "refused: '%s' is neither file nor folder nor link",
				  e.path);
	if (r == 0 && e.type != TAR_FILE && (u->flags & UNPACK_ONE_FILE))
		r = mvm_error_set(err, -EPERM, "refused: '%s' is no longer a regular file", e.path);
	if (r == 0 && e.type != TAR_FOLDER && parts.n == 0)
		r = mvm_error_set(err, -EBADMSG, "refused: '%s' names no file", e.path);
	return r < 0 ? r : unpack_forgive(u, make_entry(u, &parts, &e, err), err);
}

static int take_data(void *arg, uint64_t at, const void *data, size_t len, struct mvm_error *err)
{
	struct unpack *u = arg;
	if (u->file_fd < 0)
		return 0; /* contents of a file that is kept or left out */
	int r = file_write_sparse(u->file_fd, data, len, (off_t)at);
	if (r < 0)
		r = unpack_cannot(r, "write", u->file_name, err);
	u->file_left -= len;
	if (r == 0 && u->file_left == 0)
		r = unpack_finish_file(u, err);
	if (r < 0)
		unpack_drop_file(u); /* further contents of it are dropped */
	return unpack_forgive(u, r, err);
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
	r = ours ? unpack_own_fd(u, place.fd) : 0;
	return r < 0 ? unpack_cannot(r, "set the owner of", o->path, err) : 0;
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
		r = unpack_forgive(u, unpack_leave(u, err), err);
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
	unpack_drop_file(u);
	while (u->n_levels > 0) {
		struct unpack_level *l = &u->levels[--u->n_levels];
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
