/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "copy/pack.h"
#include "copy/unpack.h"
#include "net/agent.h"
#include "net/wire.h"

#define PAGE_BYTES 4096u

/* Does the path stand for a folder's contents?  "a/b/.", "a/b/.." and "/" do. */
bool copy_means_contents(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *last = slash ? slash + 1 : path;
	return str_eq(last, ".") || str_eq(last, "..") || path[strspn(path, "/")] == '\0';
}

/* The last component of a path, without trailing slashes.  The caller frees it. */
char *copy_last_name(const char *path)
{
	size_t end = strlen(path), start;
	while (end > 0 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/';)
		start--;
	return strndup(path + start, end - start);
}

static int check_guest_path(const char *path, struct mvm_error *err)
{
	if (path[0] != '/')
		return mvm_error_set(err, -EINVAL, "'%s': a path in the guest begins with a slash",
				     path);
	return 0;
}

/* The guest's result: 0, or its errno with its standard error as the text. */
static int guest_result(int status, const struct strbuf *words, struct strbuf *ret_note,
			struct mvm_error *err)
{
	const char *text = words->len ? words->data : "no reason given";
	if (status == 0) {
		strbuf_adds(ret_note, words->len ? text : "");
		return 0;
	}
	if (status > 125)
		return mvm_error_set(err, -EREMOTEIO, "the copy was interrupted in the guest");
	return mvm_error_set(err, -status, "in the guest: %s", text);
}

static int carry(struct control *c, unsigned call, const struct strbuf *args,
		 const struct session_io *io, int stdin_fd, int stdout_fd,
		 const struct copy_options *o, struct strbuf *ret_note, struct mvm_error *err)
{
	AUTO_DONE(strbuf) words = { 0 };
	int status = 0;
	const struct session_spec spec = {
		.call = call,
		.args = args,
		.io = io,
		.stdin_fd = stdin_fd,
		.stdout_fd = stdout_fd,
		.stderr_fd = -1,
		.words = &words,
		.signal_fd = -1,
		.tty_fd = -1,
		.deadline_ns = clock_deadline_ns(o->timeout_ms),
		.idle_ms = o->idle_ms,
	};
	if (args->failed)
		return mvm_error_oom(err);
	c->progress = o->progress;
	int r = session_run(c, &spec, &status, err);
	c->progress = NULL;
	if (r == -ETIMEDOUT && clock_now_ns() >= spec.deadline_ns)
		return mvm_error_set(err, r, "the copy did not end in time");
	return r < 0 ? r : guest_result(status, &words, ret_note, err);
}

/* Add the reason of a copy that failed because the guest had no room. */
static int full_guest(int r, struct mvm_error *err)
{
	if (r != -ENOSPC && r != -ENOMEM)
		return r;
	return mvm_error_reason(err, r, "guest-memory-full", NULL);
}

static ssize_t read_pack(void *arg, void *data, size_t len, struct mvm_error *err)
{
	return pack_read(arg, data, len, err);
}

static void send_holes(void *arg)
{
	pack_holes(arg);
}

uint64_t copy_tree_bytes(const char *path, bool follow, const struct mvm_progress *progress)
{
	AUTO_FREE char *copy = strdup(path);
	char *const paths[] = { copy, NULL };
	uint64_t bytes = 0;
	int how = FTS_PHYSICAL | FTS_NOCHDIR | (follow ? FTS_COMFOLLOW : 0);
	FTS *fts = copy ? fts_open(paths, how, NULL) : NULL;
	for (FTSENT *e; fts && progress_go_on(progress, NULL) == 0 && (e = fts_read(fts));) {
		const struct stat *st = e->fts_statp;
		if (e->fts_info != FTS_F)
			continue;
		uint64_t size = (uint64_t)st->st_size, held = (uint64_t)st->st_blocks * 512;
		bytes += ((held < size ? held : size) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	}
	if (fts)
		fts_close(fts); /* only read */
	return bytes;
}

int copy_put(struct control *c, int dir_fd, const char *host_path, const char *guest_path,
	     bool contents, const char *name, enum put_owner owner, const struct copy_options *o,
	     struct strbuf *ret_note, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO(pack) p = NULL;

	wire_put_str(&args, FIELD_PATH, guest_path);
	wire_put_u64(&args, FIELD_CONTENTS, contents);
	wire_put_u64(&args, FIELD_OWNER, owner);
	wire_put_str(&args, FIELD_NAME, name);
	AUTO_FREE char *path = dir_fd < 0 ? strdup(host_path)
					  : str_printf("/proc/self/fd/%d/%s", dir_fd, host_path);
	if (!path)
		return mvm_error_oom(err);
	wire_put_u64(&args, FIELD_SIZE, copy_tree_bytes(path, o->follow_link, o->progress));
	int r = pack_open(dir_fd, host_path, name, o->follow_link ? PACK_FOLLOW : 0, &p, err);
	if (r < 0)
		return r;
	const struct session_io io = { .read = read_pack, .holes = send_holes, .arg = p };
	r = full_guest(carry(c, CALL_PUT, &args, &io, -1, -1, o, ret_note, err), err);
	if (r == 0)
		pack_note(p, ret_note);
	return r;
}

int copy_in(struct control *c, const char *host_path, const char *guest_path,
	    const struct copy_options *o, struct strbuf *ret_note, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	int r = check_guest_path(guest_path, err);
	if (r < 0)
		return r;
	if (host_path) {
		bool contents = copy_means_contents(host_path);
		AUTO_FREE char *name = contents ? strdup(".") : copy_last_name(host_path);
		return name ? copy_put(c, AT_FDCWD, host_path, guest_path, contents, name,
				       OWNER_ROOT, o, ret_note, err)
			    : mvm_error_oom(err);
	}
	wire_put_str(&args, FIELD_PATH, guest_path);
	wire_put_u64(&args, FIELD_CONTENTS, 1);
	return full_guest(carry(c, CALL_PUT, &args, NULL, o->stream_fd, -1, o, ret_note, err), err);
}

static int write_unpack(void *arg, const void *data, size_t len, struct mvm_error *err)
{
	return unpack_write(arg, data, len, err);
}

int copy_get(struct control *c, const char *guest_path, int dir_fd, const char *host_path,
	     const struct copy_options *o, unsigned flags, struct strbuf *ret_note,
	     struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_FREE char *name = NULL;
	AUTO(unpack) u = NULL;

	int r = check_guest_path(guest_path, err);
	if (r < 0)
		return r;
	bool contents = copy_means_contents(guest_path);
	name = contents ? strdup(".") : copy_last_name(guest_path);
	if (!name)
		return mvm_error_oom(err);
	wire_put_str(&args, FIELD_PATH, guest_path);
	wire_put_u64(&args, FIELD_FOLLOW, o->follow_link);
	wire_put_u64(&args, FIELD_HOLES, 1);
	if (!host_path) {
		wire_put_str(&args, FIELD_NAME, name);
		return carry(c, CALL_GET, &args, NULL, -1, o->stream_fd, o, ret_note, err);
	}
	const struct unpack_options options = {
		.dir_fd = dir_fd,
		.path = host_path,
		.name = contents ? NULL : name,
		.flags = flags | UNPACK_GUARDED | (contents ? (unsigned)UNPACK_CONTENTS : 0),
		.max_bytes = o->max_bytes ? o->max_bytes : MVM_COPY_MAX_BYTES,
		.umask = o->umask,
	};
	r = unpack_open(&options, &u, err);
	if (r < 0)
		return r;
	wire_put_str(&args, FIELD_NAME, contents ? "." : unpack_name(u));
	const struct session_io io = { .write = write_unpack, .arg = u };
	r = carry(c, CALL_GET, &args, &io, -1, -1, o, ret_note, err);
	if (r == 0)
		return unpack_finish(u, err);
	/* finish the files that have arrived; the guest's error is the one to report */
	struct mvm_error second = { 0 };
	unpack_finish(u, &second);
	return r;
}

int copy_out(struct control *c, const char *guest_path, const char *host_path,
	     const struct copy_options *o, struct strbuf *ret_note, struct mvm_error *err)
{
	return copy_get(c, guest_path, AT_FDCWD, host_path, o, 0, ret_note, err);
}

struct root_file {
	int fd;
	uint64_t bytes, max_bytes;
	struct progress_step *step;
};

static int write_root(void *arg, const void *data, size_t len, struct mvm_error *err)
{
	struct root_file *f = arg;
	char limit[24];

	if (len > f->max_bytes - f->bytes) {
		str_bytes(f->max_bytes, limit, sizeof(limit));
		return mvm_error_set(err, -EFBIG, "the guest's root has more than %s", limit);
	}
	int r = file_write_all(f->fd, data, len);
	if (r < 0)
		return mvm_error_set(err, r, "cannot store the guest's root: %s", strerror(-r));
	f->bytes += len;
	return progress_bytes(f->step, f->bytes, 0, err);
}

int copy_root(struct control *c, const struct strv *volumes, int to_fd, uint64_t max_bytes,
	      struct progress_step *step, const struct copy_options *options,
	      struct strbuf *ret_note, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	struct root_file f = { .fd = to_fd, .max_bytes = max_bytes, .step = step };

	for (size_t i = 0; i < volumes->n; i++)
		wire_put_str(&args, FIELD_ARG, volumes->v[i]);
	const struct session_io io = { .write = write_root, .arg = &f };
	return carry(c, CALL_COMMIT, &args, &io, -1, -1, options, ret_note, err);
}
