/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server of the pools.  One event loop watches the wanted state (pool/, the templates'
 * revisions) and the actual state (a leash to each waiting VM).  It takes one step at a time: end
 * an unwanted VM, or start a missing one.
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
#include "base/hostload.h"
#include "base/lock.h"
#include "base/loop.h"
#include "base/progress.h"
#include "instance/folder.h"
#include "instance/usage.h"
#include "start/pool.h"
#include "store/revision.h"

#define PAUSE_MS      INT64_C(1000) /* after a failure; doubles with each further failure */
#define PAUSE_MAX_MS  INT64_C(60000)
#define CLAIM_NS      (15 * NS_PER_S)	   /* from claim to take; longer than take_deadline_ns() */
#define END_MS	      INT64_C(3000)	   /* for a VM to end; then it is killed */
#define FIRST_VM_SIZE (UINT64_C(64) << 20) /* assumed until a VM has been measured */
#define WATCHED	      (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR)

struct pool;

/* A waiting VM. */
struct waiting {
	struct waiting *next;
	struct pool *pool;
	struct mvm_instance *vm; /* holds its leash */
	struct loop_source *source;
	char file[POOL_KEY_SIZE + 64]; /* in the pool's folder */
	int dir_fd;		       /* of the instance */
	uint64_t bytes;		       /* its private memory */
	int64_t claimed_ns;	       /* when a start removed its file; 0: not yet */
	bool gone;		       /* taken or dead */
};

struct pool {
	struct pool *next;
	char *id;
	int dir_fd;
	int waiting_wd, template_wd, artifacts_wd; /* inotify; -1: not watched */
	uint32_t size;				   /* wanted */
	uint32_t n;
	struct waiting *list;
	char key[POOL_KEY_SIZE]; /* of the snapshot that VMs are restored from */
	bool changed;		 /* check it again */
	bool unset;		 /* the user has removed this pool */
	int64_t retry_ns;	 /* start no VM before this time; 0: now */
	unsigned failures;
	char note[256];
};

struct server {
	struct mvm *mvm;
	const struct mvm_progress *progress;
	struct loop *loop;
	int pool_fd, notify_fd;
	struct pool *pools;
	bool cancelled, changed;
	uint64_t max_bytes, bytes;
};

/* ---- waiting VMs ---- */

static void waiting_free(struct waiting *w)
{
	if (!w)
		return;
	loop_source_free(w->source);
	mvm_instance_close(w->vm);
	if (w->dir_fd >= 0)
		close(w->dir_fd);
	free(w);
}
DEFINE_AUTO(waiting, waiting_free)

static void forget(struct server *s, struct waiting *w)
{
	struct pool *p = w->pool;
	struct waiting **link = &p->list;
	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
	p->n--;
	s->bytes -= w->bytes;
	waiting_free(w);
}

/* End a VM that no start has, whatever its supervisor says: a guest may have broken into it.  One
 * VM must not stop the server. */
static void end_vm(struct server *s, struct waiting *w)
{
	const char *name = mvm_instance_name(w->vm), *why;
	/* after a failure the next command that lists instances settles it */
	if (instance_folder_kill(w->dir_fd, name, END_MS, NULL, NULL) == 0)
		instance_settle(store_dir(s->mvm->store, STORE_INSTANCES), name,
				store_dir(s->mvm->store, STORE_LOGS), &why, NULL);
}

/* End a waiting VM.  Returns false when a start has taken it. */
static bool withdraw(struct server *s, struct waiting *w)
{
	if (unlinkat(w->pool->dir_fd, w->file, 0) < 0)
		return false;
	end_vm(s, w);
	forget(s, w);
	return true;
}

/* Nobody sends anything on the leash, so an event means that the VM was taken or has died. */
static void on_leash(void *arg, uint32_t events)
{
	struct waiting *w = arg;
	(void)events;
	w->gone = true;
	loop_source_set_events(w->source, 0);
	w->pool->changed = true;
}

static void say(struct server *s, struct pool *p, const char *text)
{
	if (str_eq(p->note, text ? text : ""))
		return;
	snprintf(p->note, sizeof(p->note), "%s", text ? text : "");
	pool_note(s->pool_fd, p->id, text);
	if (text)
		progress_note(s->progress, "pool '%s': %s", p->id, text);
}

static void put_off(struct server *s, struct pool *p, const char *why)
{
	unsigned doubled = p->failures < 6 ? p->failures : 6;
	int64_t pause_ms = PAUSE_MS << doubled;
	p->failures++;
	p->retry_ns = clock_deadline_ns(pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS);
	say(s, p, why);
}

/*
 * Discard a VM whose leash has hung up, or said something, or that was claimed and not taken.  A VM
 * that a start has taken has another name by now, and a VM that ended in order has no folder. Every
 * other VM has died, or must.
 */
static void discard(struct server *s, struct waiting *w)
{
	int instances_fd = store_dir(s->mvm->store, STORE_INSTANCES);

	unlinkat(w->pool->dir_fd, w->file, 0); /* a start may have removed it */
	if (file_is_at(w->dir_fd, instances_fd, mvm_instance_name(w->vm))) {
		end_vm(s, w);
		put_off(s, w->pool, "a waiting VM has died");
	}
	forget(s, w);
}

/* Has the process that claimed it ended before it took it? */
static bool is_orphan(const struct waiting *w)
{
	return w->claimed_ns && w->claimed_ns + CLAIM_NS <= clock_now_ns();
}

static uint64_t private_bytes(int instance_fd)
{
	AUTO_DONE(record) rec = { 0 };
	struct usage usage = { 0 };
	if (record_load(instance_fd, &rec, NULL) < 0)
		return 0;
	usage_read((pid_t)rec.vmm_pid, (pid_t)rec.supervisor_pid, instance_fd, &usage);
	return usage.memory_private_bytes + usage.supervisor_private_bytes;
}

/* Offer a VM to starts. */
static int offer(struct server *s, struct waiting *w, struct mvm_error *err)
{
	const char *name = mvm_instance_name(w->vm);
	w->dir_fd = dir_open_at(store_dir(s->mvm->store, STORE_INSTANCES), name);
	int r = w->dir_fd < 0 ? w->dir_fd
			      : loop_add_fd(s->loop, w->vm->control.channel.fd, EPOLLIN, on_leash,
					    w, &w->source);
	if (r < 0)
		return mvm_error_set(err, r, "cannot watch a VM: %s", strerror(-r));
	w->bytes = private_bytes(w->dir_fd);
	snprintf(w->file, sizeof(w->file), "%s.%s", w->pool->key, name);
	AUTO_CLOSE int fd = openat(w->pool->dir_fd, w->file,
				   O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? mvm_error_set(err, -errno, "cannot offer a VM: %s", strerror(errno)) : 0;
}

static int start_one(struct server *s, struct pool *p, const struct start_request *q,
		     const struct start_plan *plan, struct mvm_error *err)
{
	AUTO(waiting) w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	w->pool = p;
	w->dir_fd = -1;
	int r = start_instance(s->mvm, q, plan, s->progress, &w->vm, err);
	if (r == 0)
		r = offer(s, w, err);
	if (r < 0)
		return r;
	s->bytes += w->bytes;
	w->next = p->list;
	p->list = TAKE_PTR(w);
	p->n++;
	return 0;
}

/* ---- one pool ---- */

static bool has_room(struct server *s, struct pool *p)
{
	uint64_t bytes = p->list ? p->list->bytes : FIRST_VM_SIZE;
	char text[128], used[24], limit[24];
	if (s->bytes + bytes <= s->max_bytes)
		return true;
	str_bytes(s->bytes, used, sizeof(used));
	str_bytes(s->max_bytes, limit, sizeof(limit));
	snprintf(text, sizeof(text), "waiting VMs use %s of memory, and the limit is %s", used,
		 limit);
	put_off(s, p, text);
	return false;
}

/* One VM starts at a time, and none while running processes wait for memory. */
static bool may_grow(struct server *s, struct pool *p)
{
	struct hostload host;
	char pressure[HOSTLOAD_TEXT_SIZE], text[sizeof(p->note)];
	hostload_read(&host);
	if (!hostload_is_short_of_memory(&host))
		return true;
	hostload_describe(&host, pressure);
	snprintf(text, sizeof(text), "waiting until the host has memory: %s", pressure);
	put_off(s, p, text);
	return false;
}

/* Plan the restore of a VM; an error says why it is impossible. */
static int plan_restore(struct server *s, struct pool *p, struct revision *revision,
			struct vmm_probe *probe, struct start_request *q, struct start_plan *plan,
			struct mvm_error *err)
{
	const struct vmm_ops *ops;
	int r = revision_open(s->mvm, p->id, revision, err);
	if (r == 0)
		r = context_backend(s->mvm, NULL, &revision->rev, s->progress, &ops, probe, err);
	if (r < 0)
		return r;
	*q = (struct start_request){
		.mvm = s->mvm,
		.revision = revision,
		.ops = ops,
		.probe = probe,
		.options = &start_for_ourselves,
		.purpose = RECORD_FOR_POOL,
	};
	r = revision_trust(s->mvm, revision, false, NULL, err);
	if (r == 0)
		r = start_decide(q, plan, err);
	if (r == 0 && !plan->restore)
		r = mvm_error_set(err, -EOPNOTSUPP, "nothing to restore: %s", plan->reason);
	return r;
}

/* End one VM of another snapshot, or one VM too many.  Returns whether it did. */
static bool thin_out(struct server *s, struct pool *p)
{
	for (struct waiting *w = p->list; w; w = w->next) {
		bool other = !str_starts(w->file, p->key) || !p->key[0];
		if (!w->gone && (other || p->n > p->size) && withdraw(s, w))
			return true;
	}
	return false;
}

/* Take one step towards a full pool. */
static void maintain(struct server *s, struct pool *p)
{
	AUTO_DONE(revision) revision = REVISION_NONE;
	AUTO_DONE(vmm_probe) probe = { 0 };
	AUTO_DONE(start_plan) plan = { 0 };
	struct start_request q;
	struct mvm_error err = { 0 };

	p->changed = false;
	for (struct waiting *w = p->list, *next; w; w = next) {
		next = w->next;
		if (w->gone || is_orphan(w))
			discard(s, w);
	}
	int r = p->size ? plan_restore(s, p, &revision, &probe, &q, &plan, &err) : 0;
	p->key[0] = '\0';
	if (r == 0 && p->size)
		pool_key(&revision.rev, p->key);
	if (thin_out(s, p)) {
		p->changed = true; /* there may be more */
		return;
	}
	if (r == 0 && p->n < p->size && p->retry_ns <= clock_now_ns() && may_grow(s, p) &&
	    has_room(s, p))
		r = start_one(s, p, &q, &plan, &err);
	if (r < 0) {
		put_off(s, p, err.text);
	} else if (p->n >= p->size) {
		p->failures = 0;
		p->retry_ns = 0;
		say(s, p, NULL);
	}
}

/* Does the pool need a step now?  Otherwise lower *ret_next to the time when it may. */
static bool is_due(const struct pool *p, int64_t *ret_next)
{
	if (p->changed)
		return true;
	for (const struct waiting *w = p->list; w; w = w->next) {
		if (is_orphan(w))
			return true;
		if (w->claimed_ns && w->claimed_ns + CLAIM_NS < *ret_next)
			*ret_next = w->claimed_ns + CLAIM_NS;
	}
	if (p->n == p->size)
		return false;
	if (p->retry_ns <= clock_now_ns())
		return true;
	if (p->retry_ns < *ret_next)
		*ret_next = p->retry_ns;
	return false;
}

/* ---- all pools ---- */

static int watch_dir(struct server *s, int dir_fd)
{
	char path[FD_PATH_SIZE];
	fd_path(dir_fd, path);
	return inotify_add_watch(s->notify_fd, path, WATCHED);
}

/* Watch two folders: in the template's `current` moves, in artifacts/ snapshots are exchanged. */
static void watch_template(struct server *s, struct pool *p)
{
	AUTO_CLOSE int dir_fd = openat(store_dir(s->mvm->store, STORE_TEMPLATES), p->id,
				       O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_CLOSE int artifacts_fd = dir_fd < 0 ? -1 : dir_open_at(dir_fd, "artifacts");
	p->template_wd = dir_fd < 0 ? -1 : watch_dir(s, dir_fd);
	p->artifacts_wd = artifacts_fd < 0 ? -1 : watch_dir(s, artifacts_fd);
}

static struct pool *add_pool(struct server *s, const char *id)
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

static struct pool *find_pool(struct server *s, const char *id)
{
	struct pool *p = s->pools;
	while (p && !str_eq(p->id, id))
		p = p->next;
	return p;
}

/* All of its VMs have ended or were taken. */
static void pool_free(struct server *s, struct pool *p)
{
	const int watched[] = { p->waiting_wd, p->template_wd, p->artifacts_wd };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(watched); i++)
		inotify_rm_watch(s->notify_fd, watched[i]); /* -1 or removed: EINVAL */
	unlinkat(s->pool_fd, p->id, AT_REMOVEDIR);	    /* fails unless it is empty */
	close(p->dir_fd);
	free(p->id);
	free(p);
}

static void drop_unset(struct server *s)
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
static int reload(struct server *s, struct mvm_error *err)
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
			say(s, p, bad.text);
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
static void take_event(struct server *s, const struct inotify_event *e, const char *name)
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
	struct server *s = arg;
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
	((struct server *)arg)->cancelled = true;
}

static int serve(struct server *s, struct mvm_error *err)
{
	s->changed = true;
	while (!s->cancelled) {
		int64_t next_ns = DEADLINE_NONE;
		bool busy = false;
		int r = s->changed ? reload(s, err) : 0;
		if (r < 0)
			return r;
		for (struct pool *p = s->pools; p; p = p->next) {
			if (is_due(p, &next_ns)) {
				maintain(s, p);
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

static void server_done(struct server *s)
{
	while (s->pools) {
		struct pool *p = s->pools;
		while (p->list) {
			if (!withdraw(s, p->list))
				forget(s, p->list); /* a start has taken it */
		}
		s->pools = p->next;
		pool_free(s, p);
	}
	if (s->notify_fd >= 0)
		close(s->notify_fd);
	loop_free(s->loop);
}
DEFINE_AUTO_DONE(server, server_done)

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

	AUTO_DONE(server) s = {
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
