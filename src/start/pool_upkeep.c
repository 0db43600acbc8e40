/* SPDX-License-Identifier: Apache-2.0 */
#include "start/pool_upkeep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hostload.h"
#include "base/progress.h"
#include "instance/folder.h"
#include "instance/usage.h"

#define PAUSE_MS      INT64_C(1000) /* after a failure; doubles with each further failure */
#define PAUSE_MAX_MS  INT64_C(60000)
#define CALM_MS	      INT64_C(100)	   /* for the first command in a VM that was just taken */
#define CLAIM_NS      (15 * NS_PER_S)	   /* from claim to take; longer than take_deadline_ns() */
#define END_MS	      INT64_C(3000)	   /* for a VM to end; then it is killed */
#define FIRST_VM_SIZE (UINT64_C(64) << 20) /* assumed until a VM has been measured */
#define AT_ONCE_MAX   64		   /* starts */

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

static void forget(struct pool_server *s, struct waiting *w)
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
static void end_vm(struct pool_server *s, struct waiting *w)
{
	const char *name = mvm_instance_name(w->vm);
	AUTO_FREE char *why = NULL;
	/* after a failure the next command that lists instances settles it */
	if (instance_folder_kill(w->dir_fd, name, END_MS, NULL, NULL) == 0)
		instance_settle(store_dir(s->mvm->store, STORE_INSTANCES), name,
				store_dir(s->mvm->store, STORE_LOGS), &why, NULL);
}

/* End a waiting VM.  Returns false when a start has taken it. */
static bool withdraw(struct pool_server *s, struct waiting *w)
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

void pool_say(struct pool_server *s, struct pool *p, const char *text)
{
	if (str_eq(p->note, text ? text : ""))
		return;
	snprintf(p->note, sizeof(p->note), "%s", text ? text : "");
	pool_note(s->pool_fd, p->id, text);
	if (text)
		progress_note(s->progress, "pool '%s': %s", p->id, text);
}

static void put_off(struct pool_server *s, struct pool *p, const char *why)
{
	unsigned doubled = p->failures < 6 ? p->failures : 6;
	int64_t pause_ms = PAUSE_MS << doubled;
	p->failures++;
	p->retry_ns = clock_deadline_ns(pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS);
	pool_say(s, p, why);
}

/*
 * Discard a VM whose leash has hung up, or said something, or that was claimed and not taken.  A VM
 * that a start has taken has another name by now, and a VM that ended in order has no folder. Every
 * other VM has died, or must.
 */
static void discard(struct pool_server *s, struct waiting *w)
{
	int instances_fd = store_dir(s->mvm->store, STORE_INSTANCES);

	unlinkat(w->pool->dir_fd, w->file, 0); /* a start may have removed it */
	if (file_is_at(w->dir_fd, instances_fd, mvm_instance_name(w->vm))) {
		end_vm(s, w);
		put_off(s, w->pool, "a waiting VM has died");
	} else if (w->pool->n == w->pool->size && w->pool->retry_ns <= clock_now_ns()) {
		/* its command and the next VM's start would slow each other down; further takes do
		 * not prolong that */
		w->pool->retry_ns = clock_deadline_ns(CALM_MS);
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
static int offer(struct pool_server *s, struct waiting *w, struct mvm_error *err)
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

/* Wait for a VM that has begun to start, and offer it.  Takes w over. */
static int finish(struct pool_server *s, struct waiting *given, struct mvm_error *err)
{
	AUTO(waiting) w = given;
	struct pool *p = w->pool;
	int r = start_finish(s->mvm, w->vm, s->progress, err);
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

static int begin(struct pool_server *s, struct pool *p, const struct start_request *q,
		 const struct start_plan *plan, struct waiting **ret, struct mvm_error *err)
{
	AUTO(waiting) w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	w->pool = p;
	w->dir_fd = -1;
	int r = start_begin(s->mvm, q, plan, &w->vm, err);
	if (r == 0)
		*ret = TAKE_PTR(w);
	return r;
}

/* Start n VMs at the same time, and keep all that come up.  Returns the first failure. */
static int start_some(struct pool_server *s, struct pool *p, const struct start_request *q,
		      const struct start_plan *plan, unsigned n, struct mvm_error *err)
{
	struct waiting *begun[AT_ONCE_MAX];
	unsigned have = 0;
	bool cut = false;
	int r = 0;
	while (have < n && progress_check(s->progress, NULL) == 0 &&
	       (r = begin(s, p, q, plan, &begun[have], err)) == 0)
		have++;
	for (unsigned i = 0; i < have; i++) {
		struct mvm_error bad = { 0 };
		if (!cut && progress_check(s->progress, NULL) < 0) {
			cut = true; /* tell all to end first, then wait for each */
			for (unsigned j = i; j < have; j++)
				instance_cut_short(begun[j]->vm);
		}
		int one = finish(s, begun[i], &bad);
		if (one < 0 && r == 0) {
			r = one;
			*err = bad;
		}
	}
	return r;
}

/* ---- one pool ---- */

/* How many VMs the memory limit has room for. */
static unsigned room(struct pool_server *s, struct pool *p)
{
	uint64_t bytes = p->list && p->list->bytes ? p->list->bytes : FIRST_VM_SIZE;
	uint64_t left = s->bytes < s->max_bytes ? (s->max_bytes - s->bytes) / bytes : 0;
	char text[128], used[24], limit[24];
	if (left > 0)
		return left < AT_ONCE_MAX ? (unsigned)left : AT_ONCE_MAX;
	str_bytes(s->bytes, used, sizeof(used));
	str_bytes(s->max_bytes, limit, sizeof(limit));
	snprintf(text, sizeof(text), "waiting VMs use %s of memory, and the limit is %s", used,
		 limit);
	put_off(s, p, text);
	return 0;
}

/* How many VMs the host's load lets start at once: one for each CPU, half of that when processes
 * wait for CPUs, and none while they wait for memory. */
static unsigned at_once(struct pool_server *s, struct pool *p)
{
	struct hostload host;
	char pressure[HOSTLOAD_TEXT_SIZE], text[sizeof(p->note)];
	hostload_read(&host);
	if (!hostload_is_short_of_memory(&host)) {
		unsigned n = hostload_starts_at_once(&host, hostload_cpus()) / 2;
		return n > 1 ? n : 1;
	}
	hostload_describe(&host, pressure);
	snprintf(text, sizeof(text), "waiting until the host has memory: %s", pressure);
	put_off(s, p, text);
	return 0;
}

/* How many of the missing VMs may start now. */
static unsigned may_start(struct pool_server *s, struct pool *p)
{
	if (p->n >= p->size || p->retry_ns > clock_now_ns())
		return 0;
	unsigned n = p->size - p->n, most = at_once(s, p);
	n = most < n ? most : n;
	most = n > 0 ? room(s, p) : 0;
	return most < n ? most : n;
}

/* Plan the restore of a VM; an error says why it is impossible. */
static int plan_restore(struct pool_server *s, struct pool *p, struct revision *revision,
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
static bool thin_out(struct pool_server *s, struct pool *p)
{
	for (struct waiting *w = p->list; w; w = w->next) {
		bool other = !str_starts(w->file, p->key) || !p->key[0];
		if (!w->gone && (other || p->n > p->size) && withdraw(s, w))
			return true;
	}
	return false;
}

void pool_maintain(struct pool_server *s, struct pool *p)
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
	unsigned n = r == 0 ? may_start(s, p) : 0;
	if (n > 0)
		r = start_some(s, p, &q, &plan, n, &err);
	if (r < 0) {
		put_off(s, p, err.text);
	} else if (p->n >= p->size) {
		p->failures = 0;
		p->retry_ns = 0;
		pool_say(s, p, NULL);
	}
}

bool pool_is_due(const struct pool *p, int64_t *ret_next)
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

void pool_end_waiting(struct pool_server *s, struct pool *p)
{
	while (p->list) {
		if (!withdraw(s, p->list))
			forget(s, p->list); /* a start has taken it */
	}
}
