/* SPDX-License-Identifier: Apache-2.0 */
#include "lazy/lazy.h"

#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define WAITING_MAX    4096u
#define FOREVER_S      86400.0 /* nothing changes but what is here */
#define READ_MAX_BYTES ((size_t)1 << 20)

/* A fault of a VM reads so much around it.  More would often wait for chunks that nobody needs. */
#define READ_AHEAD_BYTES 65536u

/* Inodes: the folders, then the files. */
enum { INO_ROOT = FUSE_ROOT_ID, INO_SNAPSHOT, INO_FILES };
#define SNAPSHOT "snapshot"

/* A read that waits for a part that is not here. */
struct waiting {
	fuse_req_t req;
	uint64_t file, offset, bytes;
	int64_t until_ns;
	bool asked; /* mvm-pull has been asked for it */
};

struct server {
	struct fuse_session *session;
	const struct lazy_map *map;
	struct waiting waiting[WAITING_MAX];
	size_t n_waiting;
	bool ended; /* the pull: nothing more will come over the control socket */
	bool lost;
	uint8_t buf[READ_MAX_BYTES];
};

static bool bit_is_set(const struct lazy_map *map, uint64_t bit)
{
	const _Atomic uint64_t *word = (const _Atomic uint64_t *)&map->bits[bit / 64];
	return bit / 64 < map->n_words &&
	       atomic_load_explicit(word, memory_order_acquire) >> bit % 64 & 1;
}

static bool is_here(const struct server *s, const struct waiting *w)
{
	const struct lazy_file *f = &s->map->files[w->file];
	uint64_t block = w->offset / LAZY_BLOCK;
	uint64_t end = (w->offset + w->bytes + LAZY_BLOCK - 1) / LAZY_BLOCK;

	if (f->first_bit == LAZY_ALL)
		return true;
	while (block < end && bit_is_set(s->map, f->first_bit + block))
		block++;
	return block >= end;
}

static void answer(struct server *s, const struct waiting *w)
{
	ssize_t n = file_read_range(LAZY_FD_FILES + (int)w->file, s->buf, (size_t)w->bytes,
				    w->offset);
	if (n == (ssize_t)w->bytes)
		fuse_reply_buf(w->req, (const char *)s->buf, (size_t)n);
	else
		fuse_reply_err(w->req, EIO);
}

/* Ask mvm-pull for it, unless its socket is full: then again later. */
static void ask(struct waiting *w)
{
	const struct lazy_want want = { w->file, w->offset, w->bytes };
	if (!w->asked)
		w->asked = send(LAZY_FD_CONTROL, &want, sizeof(want), MSG_NOSIGNAL | MSG_DONTWAIT) >
			   0;
}

/* Answer every read whose part is here; all of them once nothing more comes. */
static void look_again(struct server *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n_waiting; i++) {
		struct waiting w = s->waiting[i];
		if (is_here(s, &w))
			answer(s, &w);
		else if (s->ended)
			fuse_reply_err(w.req, EIO);
		else {
			ask(&w);
			s->waiting[kept++] = w;
		}
	}
	s->n_waiting = kept;
}

/* Tell VMs how the pull has ended.  The message stays in the socket for all that look. */
static void end(struct server *s, const struct lazy_news *news)
{
	if (s->ended)
		return;
	s->ended = true;
	s->lost = news->what == LAZY_LOST;
	send(LAZY_FD_SOURCE, news, sizeof(*news), MSG_NOSIGNAL | MSG_DONTWAIT);
	look_again(s);
}

static void lose(struct server *s, const char *why)
{
	struct lazy_news news = { .what = LAZY_LOST };
	snprintf(news.text, sizeof(news.text), "%s", why);
	end(s, &news);
}

static void hear(struct server *s)
{
	struct lazy_news news;
	ssize_t n = recv(LAZY_FD_CONTROL, &news, sizeof(news), MSG_DONTWAIT);

	/* ECONNRESET comes before what mvm-pull said, if it ended without reading all that it was
	 * asked for: the next call has that, or the end */
	if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
		return;
	if (n != (ssize_t)sizeof(news)) {
		lose(s, "mvm-pull, which fetched it, has ended");
		return;
	}
	news.text[sizeof(news.text) - 1] = '\0';
	if (news.what == LAZY_MORE)
		look_again(s);
	else
		end(s, &news);
}

/* ---- FUSE ---- */

static struct server *server_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* What a number names: a folder or a file of the map.  0 or -ENOENT. */
static int describe(const struct server *s, fuse_ino_t ino, struct stat *ret)
{
	*ret = (struct stat){ .st_ino = ino, .st_nlink = 1 };
	if (ino == INO_ROOT || ino == INO_SNAPSHOT) {
		ret->st_mode = S_IFDIR | 0755;
		ret->st_nlink = 2;
		return 0;
	}
	if (ino < INO_FILES || ino - INO_FILES >= s->map->n_files)
		return -ENOENT;
	ret->st_mode = S_IFREG | 0444;
	ret->st_size = (off_t)s->map->files[ino - INO_FILES].bytes;
	ret->st_blocks = (ret->st_size + 511) / 512;
	ret->st_blksize = LAZY_BLOCK;
	return 0;
}

static void on_init(void *arg, struct fuse_conn_info *conn)
{
	(void)arg;
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				  FUSE_CAP_SPLICE_MOVE);
	conn->max_readahead = READ_AHEAD_BYTES;
	conn->time_gran = 1;
}

static fuse_ino_t find(const struct server *s, fuse_ino_t parent, const char *name)
{
	const char *folder = parent == INO_SNAPSHOT ? SNAPSHOT "/" : "";
	const size_t len = strlen(folder);

	if (parent == INO_ROOT && strcmp(name, SNAPSHOT) == 0)
		return INO_SNAPSHOT;
	for (uint64_t i = 0; i < s->map->n_files; i++) {
		const char *file = s->map->files[i].name;
		if (strncmp(file, folder, len) == 0 && strcmp(file + len, name) == 0)
			return INO_FILES + i;
	}
	return 0;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct server *s = server_of(req);
	struct fuse_entry_param e = { .ino = find(s, parent, name),
				      .attr_timeout = FOREVER_S,
				      .entry_timeout = FOREVER_S };
	if (describe(s, e.ino, &e.attr) < 0)
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_entry(req, &e);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct stat st;

	(void)info;
	if (describe(server_of(req), ino, &st) < 0)
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_attr(req, &st, FOREVER_S);
}

/*
 * A VMM may open its memory for writing, which it never does: there is no call that writes.
 *
 * A process that is killed while it waits for a page of the cache ends at once, since that page is
 * read for everybody.  One that reads past the cache could not be killed before the answer.
 */
static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	(void)ino;
	if (info->flags & O_DIRECT) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	info->keep_cache = 1;
	fuse_reply_open(req, info);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset,
		    struct fuse_file_info *info)
{
	struct server *s = server_of(req);
	struct waiting w = { .req = req,
			     .file = ino - INO_FILES,
			     .offset = (uint64_t)offset,
			     .until_ns = clock_deadline_ns(LAZY_PATIENCE_S * 1000LL) };

	(void)info;
	if (ino < INO_FILES || w.file >= s->map->n_files || offset < 0) {
		fuse_reply_err(req, EIO);
		return;
	}
	const uint64_t size = s->map->files[w.file].bytes;
	w.bytes = w.offset < size ? size - w.offset : 0;
	if (w.bytes > bytes)
		w.bytes = bytes;
	if (w.bytes > READ_MAX_BYTES)
		w.bytes = READ_MAX_BYTES;
	if (is_here(s, &w)) {
		answer(s, &w);
		return;
	}
	if (s->ended || s->n_waiting == WAITING_MAX) {
		fuse_reply_err(req, EIO);
		return;
	}
	ask(&w);
	s->waiting[s->n_waiting++] = w;
}

static const struct fuse_lowlevel_ops calls = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.open = on_open,
	.read = on_read,
};

/* ---- the loop ---- */

/* How long poll(2) may wait: until the first read has waited too long. */
static int patience_ms(const struct server *s)
{
	if (s->n_waiting == 0)
		return -1;
	int64_t left_ms = (s->waiting[0].until_ns - clock_now_ns()) / NS_PER_MS + 1;
	return left_ms < 0 ? 0 : (int)left_ms;
}

/* Obey one call of the kernel.  false: nobody has the file system any more. */
static bool obey(struct server *s, struct fuse_buf *buf)
{
	int n = fuse_session_receive_buf(s->session, buf);
	if (n == -EINTR || n == -EAGAIN)
		return true;
	if (n <= 0)
		return false;
	fuse_session_process_buf(s->session, buf);
	return !fuse_session_exited(s->session);
}

static int run(struct server *s, struct mvm_error *err)
{
	struct fuse_buf buf = { 0 };
	bool goes_on = true;

	while (goes_on) {
		struct pollfd fds[] = { { .fd = LAZY_FD_FUSE, .events = POLLIN },
					{ .fd = s->ended ? -1 : LAZY_FD_CONTROL,
					  .events = POLLIN } };
		int n = poll(fds, MVM_ARRAY_SIZE(fds), patience_ms(s));
		if (n < 0 && errno != EINTR)
			return mvm_error_set(err, -errno, "poll: %s", strerror(errno));
		if (n == 0)
			lose(s, "what was asked for has not come in a minute");
		if (n <= 0)
			continue;
		if (fds[1].revents)
			hear(s);
		if (fds[0].revents)
			goes_on = obey(s, &buf);
	}
	free(buf.mem);
	return 0;
}

static int map(struct server *s, struct mvm_error *err)
{
	struct stat st;

	if (fstat(LAZY_FD_MAP, &st) < 0)
		return mvm_error_set(err, -errno, "fstat: %s", strerror(errno));
	const size_t len = (size_t)st.st_size;
	void *p = mmap(NULL, len, PROT_READ, MAP_SHARED, LAZY_FD_MAP, 0);
	if (p == MAP_FAILED)
		return mvm_error_set(err, -errno, "mmap: %s", strerror(errno));
	s->map = p;
	if (len < sizeof(*s->map) || s->map->n_files > LAZY_FILES_MAX ||
	    s->map->n_words != (len - sizeof(*s->map)) / sizeof(uint64_t))
		return mvm_error_set(err, -EPROTO, "mvm-pull gives a map that is none");
	return 0;
}

int lazy_serve(struct mvm_error *err)
{
	char name[] = "mvm-lazy", at[FD_PATH_SIZE];
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	AUTO_FREE struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return mvm_error_oom(err);
	int r = map(s, err);
	if (r < 0)
		return r;
	snprintf(at, sizeof(at), "/dev/fd/%d", LAZY_FD_FUSE);
	s->session = fuse_session_new(&args, &calls, sizeof(calls), s);
	if (!s->session || fuse_session_mount(s->session, at) < 0)
		return mvm_error_set(err, -EIO, "libfuse refuses to serve");
	r = lazy_confine(err);
	return r < 0 ? r : run(s, err);
}
