/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server of the pools.  One event loop watches the wanted state (pool/, the templates'
 * revisions) and the actual state (a leash to each waiting VM).  It takes one step at a time: end
 * an unwanted VM, or start missing ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/loop.h"
#include "base/progress.h"
#include "start/pool_upkeep.h"
#include "store/revision.h"

#define WATCHED (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR)

static int watch_dir(struct pool_server *s, int dir_fd)
{
	char path[FD_PATH_SIZE];
	fd_path(dir_fd, path);
	return inotify_add_watch(s->notify_fd, path, WATCHED);
}

/* Watch two folders: in the template's `current` moves, in artifacts/ snapshots are exchanged. */
static void watch_template(struct pool_server *s, struct pool *p)
{
	AUTO_CLOSE int dir_fd = openat(store_dir(s->mvm->store, STORE_TEMPLATES), p->id,
				       O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_CLOSE int artifacts_fd = dir_fd < 0 ? -1 : dir_open_at(dir_fd, "artifacts");
	p->template_wd = dir_fd < 0 ? -1 : watch_dir(s, dir_fd);
	p->artifacts_wd = artifacts_fd < 0 ? -1 : watch_dir(s, artifacts_fd);
}

static struct pool *add_pool(struct pool_server *s, const char *id)
{
	struct pool *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->id = strdup(id);
	p->dir_fd = p->id ? dir_make_at(s->pool_fd, id) : -1;
	if (p->dir_fd < 0) {
		free(p->id);
		free(p);
		return NULL;
	}
	pool_clear(p->dir_fd);
	p->waiting_wd = watch_dir(s, p->dir_fd);
	watch_template(s, p);
	p->next = s->pools;
	s->pools = p;
	return p;
}

static struct pool *find_pool(struct pool_server *s, const char *id)
{
	struct pool *p = s->pools;
	while (p && !str_eq(p->id, id))
		p = p->next;
	return p;
}

/* All of its VMs have ended or were taken. */
static void pool_free(struct pool_server *s, struct pool *p)
{
	const int watched[] = { p->waiting_wd, p->template_wd, p->artifacts_wd };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(watched); i++)
		inotify_rm_watch(s->notify_fd, watched[i]); /* -1 or removed: EINVAL */
	unlinkat(s->pool_fd, p->id, AT_REMOVEDIR);	    /* fails unless it is empty */
	close(p->dir_fd);
	free(p->id);
	free(p);
}

static void drop_unset(struct pool_server *s)
{
	for (struct pool **link = &s->pools; *link;) {
		struct pool *p = *link;
		if (p->unset && !p->list && !p->changed) {
			*link = p->next;
			pool_free(s, p);
		} else {
			link = &p->next;
		}
	}
}

/* Read the wanted pools and sizes again. */
static int reload(struct pool_server *s, struct mvm_error *err)
{
	AUTO_DONE(strv) ids = { 0 };
	s->changed = false;
	int r = pool_ids(s->pool_fd, &ids);
	if (r < 0)
		return mvm_error_set(err, r, "cannot list pools: %s", strerror(-r));
	for (size_t i = 0; i < ids.n; i++) {
		if (!find_pool(s, ids.v[i]) && !add_pool(s, ids.v[i]))
			progress_note(s->progress, "pool '%s': cannot be set up", ids.v[i]);
	}
	for (struct pool *p = s->pools; p; p = p->next) {
		struct mvm_error bad = { 0 };
		uint32_t size;
		p->unset = !strv_has(&ids, p->id);
		if (pool_size(s->pool_fd, p->id, &size, &bad) < 0) {
			pool_say(s, p, bad.text);
			size = 0;
		}
		if (size != p->size) {
			p->size = size;
			p->changed = true;
			p->failures = 0;
			p->retry_ns = 0;
		}
	}
	return 0;
}

static void note_claim(struct pool *p, const char *file)
{
	for (struct waiting *w = p->list; w; w = w->next) {
		if (str_eq(w->file, file))
			w->claimed_ns = clock_now_ns();
	}
}

/* An event from no pool's and no template's folder comes from pool/ itself. */
static void take_event(struct pool_server *s, const struct inotify_event *e, const char *name)
{
	bool elsewhere = false;
	for (struct pool *p = s->pools; p; p = p->next) {
		if (e->wd == p->waiting_wd) {
			elsewhere = true;
			if ((e->mask & IN_DELETE) && e->len > 0)
				note_claim(p, name);
		} else if (e->wd == p->template_wd || e->wd == p->artifacts_wd) {
			elsewhere = true;
			p->changed = true;
			p->failures = 0;
			p->retry_ns = 0;
			watch_template(s, p); /* the first build makes artifacts/ */
		}
	}
	s->changed |= !elsewhere;
}

static void on_notify(void *arg, uint32_t events)
{
	struct pool_server *s = arg;
	struct inotify_event e;
	char buffer[4096];
	ssize_t n;
	(void)events;

	while ((n = read(s->notify_fd, buffer, sizeof(buffer))) > 0) {
		for (const char *at = buffer; at < buffer + n;) {
			memcpy(&e, at, sizeof(e));
			take_event(s, &e, at + sizeof(e)); /* the name follows, if there is one */
			at += sizeof(e) + e.len;
		}
	}
}

static void on_cancel(void *arg, uint32_t events)
{
	(void)events;
	((struct pool_server *)arg)->cancelled = true;
}

static int serve(struct pool_server *s, struct mvm_error *err)
{
	s->changed = true;
	while (!s->cancelled) {
		int64_t next_ns = DEADLINE_NONE;
		bool busy = false;
		int r = s->changed ? reload(s, err) : 0;
		if (r < 0)
			return r;
		for (struct pool *p = s->pools; p; p = p->next) {
			if (pool_is_due(p, &next_ns)) {
				pool_maintain(s, p);
				busy = true;
			}
		}
		drop_unset(s);
		int64_t ask_ns;
		if (progress_ask(s->progress, &ask_ns) < 0)
			return 0;
		if (busy)
			next_ns = clock_now_ns();
		r = loop_run_once(s->loop, next_ns < ask_ns ? next_ns : ask_ns);
		if (r < 0 && r != -ETIMEDOUT)
			return mvm_error_set(err, r, "cannot wait: %s", strerror(-r));
	}
	return 0;
}

static void server_done(struct pool_server *s)
{
	while (s->pools) {
		struct pool *p = s->pools;
		pool_end_waiting(s, p);
		s->pools = p->next;
		pool_free(s, p);
	}
	if (s->notify_fd >= 0)
		close(s->notify_fd);
	loop_free(s->loop);
}
DEFINE_AUTO_DONE(pool_server, server_done)

static uint64_t quarter_of_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 4 : UINT64_C(1) << 30;
}

#define SERVE_OPTIONS_FIRST STRUCT_END(struct mvm_pool_serve_options, max_memory_bytes)

int mvm_pool_serve(struct mvm *mvm, const struct mvm_pool_serve_options *options,
		   const struct mvm_progress *progress, struct mvm_error *err)
{
	struct mvm_pool_serve_options o;
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = mvm_struct_take(&o, sizeof(o), SERVE_OPTIONS_FIRST, options, err);
	if (r != 0)
		return r;
	int cancel_fd = progress_cancel_fd(progress);
	char holder[LOCK_HOLDER_SIZE];
	int pool_fd = store_dir_get(mvm->store, STORE_POOL, err);
	if (pool_fd < 0)
		return pool_fd;
	AUTO_CLOSE int lock_fd = lock_take_at(pool_fd, POOL_LOCK, LOCK_NOWAIT | LOCK_PAST_LOOKS,
					      "pool serve", holder);
	if (lock_fd == -EBUSY)
		return mvm_error_set(err, -EBUSY, "another server runs already: %s", holder);
	if (lock_fd < 0)
		return store_lock_failed(mvm->store, STORE_POOL, POOL_LOCK, lock_fd, err);

	AUTO_DONE(pool_server) s = {
		.mvm = mvm,
		.progress = progress,
		.pool_fd = pool_fd,
		.max_bytes = o.max_memory_bytes ? o.max_memory_bytes : quarter_of_memory(),
		.notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK),
	};
	AUTO(loop_source) notify = NULL; /* both are freed before the loop */
	AUTO(loop_source) cancel = NULL;
	r = s.notify_fd < 0 ? -errno : loop_new(&s.loop);
	if (r == 0)
		r = loop_add_fd(s.loop, s.notify_fd, EPOLLIN, on_notify, &s, &notify);
	if (r == 0 && cancel_fd >= 0)
		r = loop_add_fd(s.loop, cancel_fd, EPOLLIN, on_cancel, &s, &cancel);
	if (r == 0 && watch_dir(&s, pool_fd) < 0)
		r = -errno;
	if (r < 0)
		return mvm_error_set(err, r, "cannot watch the pools: %s", strerror(-r));
	mvm_instance_settle(mvm, NULL, NULL); /* best effort: the VMs that a killed server left */
	return serve(&s, err);
}
