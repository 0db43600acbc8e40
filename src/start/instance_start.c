/* SPDX-License-Identifier: Apache-2.0 */
/* Start instances, one or many at once: from the pool, by a restore, or by a boot. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/hostload.h"
#include "base/parse.h"
#include "base/progress.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "start/host_memory.h"
#include "start/pool.h"
#include "start/start.h"
#include "start/volumes.h"
#include "vmm/name_servers.h"

#define BOOT_LEAST_MIB 32u /* memory that a kernel has written when its first process starts */

#define ENV_MAX_BYTES 32768u /* half of what fits into the agent's call, with its other fields */

/* One call of mvm_instance_start_many(). */
struct batch {
	struct mvm *mvm;
	struct mvm_start_options options; /* the caller's; its volumes have paths */
	const struct mvm_progress *progress;
	struct revision revision;
	struct vmm_probe probe;
	struct start_request request;
	struct start_plan plan;
	uint32_t n;
	uint32_t begun, up; /* how many of the n, in order */
	uint32_t from_pool;
	const struct record *again; /* the ended instance that starts again; NULL: new ones */
	enum record_continues continues;
	const struct record *origin; /* of forks */
	int saved_fd;
	struct mvm_volume *volumes; /* the options' own */
	bool throttled;		    /* fewer start at once than on an idle host */
	uint8_t *taken;		    /* by index: from the pool, so it is up already */
	struct mvm_instance **list;
};

static void batch_done(struct batch *b)
{
	start_plan_done(&b->plan);
	vmm_probe_done(&b->probe);
	revision_done(&b->revision);
	volumes_free(b->volumes, b->options.n_volumes);
	free(b->taken);
}
DEFINE_AUTO_DONE(batch, batch_done)

/* A guest without an agent does not tell when it has booted. */
static const char *how_started(const struct batch *b, bool restored)
{
	if (restored)
		return "restored";
	return b->revision.rev.run.initrd == MVM_INITRD_IMAGE ? "started" : "booted";
}

/* "restored in 68 ms: spawn 31, load 3, resume 0, agent 34" */
static void note_start(struct batch *b, const struct mvm_instance *vm)
{
	AUTO_DONE(record) rec = { 0 };
	AUTO_DONE(strbuf) text = { 0 };
	int64_t before = 0;

	/* not from the record's file, which --rm may have removed already */
	if (!b->progress || !vm->start_json ||
	    record_parse(vm->start_json, strlen(vm->start_json), &rec, NULL) < 0)
		return;
	for (size_t i = 0; i < rec.n_stages; i++) {
		strbuf_addf(&text, "%s%s %.0f", i ? ", " : "", rec.stages[i].name,
			    (double)(rec.stages[i].ns - before) / NS_PER_MS);
		before = rec.stages[i].ns;
	}
	progress_note(b->progress, "%s: %s in %.0f ms (%s)%s", vm->name,
		      rec.from_pool ? "taken from the pool" : how_started(b, rec.restore),
		      (double)before / NS_PER_MS, text.data ? text.data : "",
		      rec.no_agent ? "; it has no agent, so nothing tells when it is ready" : "");
	if (rec.volumes_note)
		progress_note(b->progress, "%s: volumes: %s", vm->name, rec.volumes_note);
}

/* One instance's own request. */
struct one {
	struct start_request request;
	struct mvm_start_options options;
	char name[128];
};

/* The request of the i-th instance: the batch's, with a numbered name if the batch has several. */
static void describe(const struct batch *b, uint32_t i, struct one *ret)
{
	ret->options = b->options;
	ret->request = b->request;
	ret->request.options = &ret->options;
	if (!b->options.name || b->n == 1)
		return;
	snprintf(ret->name, sizeof(ret->name), "%s-%" PRIu32, b->options.name, i + 1);
	ret->options.name = ret->name;
}

static int begin_one(struct batch *b, struct mvm_error *err)
{
	struct one one;
	uint32_t i = b->begun;
	describe(b, i, &one);
	int r = b->again || b->origin
			? 0
			: pool_take(b->mvm, &one.request, &b->plan, b->progress, &b->list[i]);
	b->taken[i] = r > 0;
	b->from_pool += r > 0;
	if (r == 0)
		r = start_begin(b->mvm, &one.request, &b->plan, &b->list[i], err);
	b->begun += r >= 0;
	if (r >= 0)
		b->list[i]->control.progress = b->progress;
	return r;
}

/* May a boot replace a restore that failed with this error? */
static bool may_boot_instead(const struct batch *b, int r)
{
	return b->plan.restore && b->options.kind == MVM_START_AUTO && r != -EEXIST &&
	       r != -EADDRINUSE && r != -EBUSY && r != -EINVAL && r != -EIO && r != -ECANCELED &&
	       r != -EBADMSG;
}

/* Wait until a VM has ended that was told to end, or whose start failed.  Then its name, or the
 * folder of an instance that starts again, is free; if it is not, start_begin() says so. */
static void free_place(struct batch *b, struct mvm_instance **ended)
{
	AUTO(mvm_instance) vm = TAKE_PTR(*ended);
	const char *name = mvm_instance_name(vm);
	if (!b->again) {
		start_remove(b->mvm, vm);
		return;
	}
	AUTO_CLOSE int dir_fd = dir_open_at(store_dir(b->mvm->store, STORE_INSTANCES), name);
	if (dir_fd >= 0)
		instance_folder_await(dir_fd, name, -1, clock_deadline_ns(INSTANCE_FOLDER_END_MS),
				      NULL, NULL);
}

/* Boot an instance whose restore failed although the snapshot passed every check. */
static int boot_instead(struct batch *b, uint32_t i, struct mvm_error *err)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct one one;

	progress_note(b->progress, "booting instead of restoring: %s", err->text);
	describe(b, i, &one);
	one.options.kind = MVM_START_COLD;
	int r = start_decide(&one.request, &plan, err);
	if (r < 0)
		return r;
	plan.reason = strdup("the snapshot could not be restored");
	free_place(b, &b->list[i]);
	r = start_begin(b->mvm, &one.request, &plan, &b->list[i], err);
	if (r < 0)
		return r;
	b->list[i]->control.progress = b->progress;
	return start_wait(b->mvm, b->list[i], err);
}

/* mvm keeps a detached instance that did not start, for its logs. */
static int explain_failed(struct batch *b, uint32_t i, int r, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	const char *name = b->list[i] ? mvm_instance_name(b->list[i]) : NULL;
	if (!name)
		return r;
	instance_keep(b->list[i]);
	r = mvm_error_context(err, r, "instance '%s' did not start", name);
	int load = instance_load(store_dir(b->mvm->store, STORE_INSTANCES), name, &rec, NULL, NULL);
	if (load == 0 && rec.state == RECORD_FAILED)
		return err->reason[0] ? mvm_error_more(err, r, "; it is kept for its logs")
				      : mvm_error_reason(err, r, "start-failed", name);
	return r;
}

static int wait_for_next(struct batch *b, struct mvm_error *err)
{
	uint32_t i = b->up;
	int r = b->taken[i] ? 0 : start_wait(b->mvm, b->list[i], err);
	if (r < 0 && may_boot_instead(b, r))
		r = boot_instead(b, i, err);
	if (r == -ECANCELED && progress_check(b->progress, NULL) < 0)
		return mvm_error_cancelled(err, "the start");
	if (r < 0) {
		r = explain_failed(b, i, r, err);
		mvm_instance_close(TAKE_PTR(b->list[i]));
		return r;
	}
	*err = (struct mvm_error){ 0 }; /* of a restore that a boot has replaced */
	b->list[i]->control.progress = NULL;
	b->up++;
	if (b->n == 1)
		note_start(b, b->list[i]);
	return 0;
}

/* Remove every new instance of the batch, but keep the failed one for its logs.  Tell all to end
 * first, then wait for each. */
static void undo(struct batch *b)
{
	for (uint32_t i = 0; i < b->begun; i++) {
		if (!b->list[i])
			continue;
		b->list[i]->control.progress = NULL;
		instance_cut_short(b->list[i]);
	}
	for (uint32_t i = 0; i < b->begun; i++) {
		if (b->list[i])
			free_place(b, &b->list[i]);
	}
}

/* How many start at a time: more would only wait for a processor or for memory. */
static uint32_t window(struct batch *b)
{
	struct hostload host;
	char pressure[HOSTLOAD_TEXT_SIZE];
	if (b->n == 1)
		return 1;
	hostload_read(&host);
	uint32_t at_once = hostload_starts_at_once(&host, hostload_cpus());
	if (at_once < hostload_starts_at_once(&(struct hostload){ 0 }, hostload_cpus()) &&
	    !b->throttled) {
		b->throttled = true; /* one note is enough */
		hostload_describe(&host, pressure);
		progress_note(b->progress, "the host is busy, so %u %s at a time: %s", at_once,
			      at_once == 1 ? "VM starts" : "VMs start", pressure);
	}
	return at_once;
}

static int start_all(struct batch *b, struct mvm_error *err)
{
	int64_t began_ns = clock_now_ns();
	int r = 0;

	b->taken = calloc(b->n, sizeof(*b->taken));
	if (!b->taken)
		return mvm_error_oom(err);
	while (r >= 0 && b->up < b->n) {
		if (progress_check(b->progress, NULL) < 0)
			r = mvm_error_cancelled(err, "the start");
		else if (b->begun < b->n && b->begun - b->up < window(b))
			r = begin_one(b, err);
		else
			r = wait_for_next(b, err);
	}
	if (r < 0) {
		undo(b);
		if (b->n == 1)
			return r;
		return mvm_error_context(err, r, "none of the %" PRIu32 " instances runs", b->n);
	}
	for (uint32_t i = 0; i < b->n && !b->options.attached && !b->options.held; i++)
		instance_keep(b->list[i]);
	double ms = (double)(clock_now_ns() - began_ns) / NS_PER_MS;
	if (b->n > 1)
		progress_note(b->progress,
			      "%" PRIu32 " %s in %.0f ms, %.0f ms each; %" PRIu32 " from the pool",
			      b->n, how_started(b, b->plan.restore), ms, ms / b->n, b->from_pool);
	return 0;
}

/* Check, before the first one starts, that all fit into memory, and say when it may run out.  All
 * fit if the host's memory cannot be read. */
static int check_room(const struct batch *b, struct mvm_error *err)
{
	struct host_memory m;
	uint64_t least_mib = b->request.ops->caps.clone_least_mib;
	if (!b->plan.restore)
		least_mib += BOOT_LEAST_MIB;
	if (host_memory_read(&m) < 0)
		return 0;
	int r = host_memory_check_many(&m, b->n, least_mib << 20, err);
	if (r == 0)
		host_memory_note(b->mvm, &m, b->plan.mem_mib, b->n, b->progress);
	return r;
}

static bool is_utf8(const char *s)
{
	size_t len;
	while ((len = str_utf8_len(s)) > 0)
		s += len;
	return *s == '\0';
}

/* Check the workload's options: variables and host name. */
static int check_workload(const struct mvm_start_options *o, struct mvm_error *err)
{
	size_t sum = 0;
	for (const char *const *v = o->env; v && *v; v++) {
		sum += strlen(*v) + 1;
		if (**v == '=' || !strchr(*v, '=') || !is_utf8(*v))
			return mvm_error_set(err, -EINVAL, "'%.80s' is not NAME=VALUE in UTF-8",
					     *v);
	}
	if (sum > ENV_MAX_BYTES)
		return mvm_error_set(err, -EFBIG, "the variables are larger than %u bytes",
				     ENV_MAX_BYTES);
	if (o->hostname && !parse_hostname_ok(o->hostname))
		return mvm_error_set(err, -EINVAL,
				     "'%.80s' is no host name: use 1 to %u of letters, digits, - "
				     "and single dots between them",
				     o->hostname, HOSTNAME_LEN_MAX);
	return 0;
}

/* What a limit of its life needs.  An instance that starts again may boot: it is stopped, not
 * suspended. */
static int check_limits(struct batch *b, struct mvm_error *err)
{
	struct mvm_start_options *o = &b->options;
	bool suspends = start_wants_suspend(o);
	const struct vmm_ops *ops = b->request.ops;
	if (suspends && !ops->save_devices)
		return mvm_error_set(err, -EOPNOTSUPP, "backend %s cannot suspend a VM", ops->name);
	if (o->on_idle_ms && !ops->caps.network_visits)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "backend %s cannot tell whether a VM is idle", ops->name);
	if (suspends && !b->again)
		o->kind = MVM_START_REQUIRE_SNAPSHOT;
	return 0;
}

/* Choose revision and backend, decide how to start, and check the memory. */
static int plan(struct batch *b, struct mvm_error *err)
{
	const struct mvm_start_options *o = &b->options;
	const struct vmm_ops *ops;

	int r = revision_open(b->mvm, o->template_ref, &b->revision, err);
	if (r == 0)
		r = context_backend(b->mvm, o->backend, &b->revision.rev, b->progress, &ops,
				    &b->probe, err);
	if (r < 0)
		return r;
	b->request = (struct start_request){
		.mvm = b->mvm,
		.revision = &b->revision,
		.ops = ops,
		.probe = &b->probe,
		.options = o,
		.again = b->again,
		.continues = b->continues,
		.origin = b->origin,
		.saved_fd = b->saved_fd,
		.progress = b->progress,
	};
	r = check_workload(o, err);
	if (r == 0)
		r = check_limits(b, err);
	if (r < 0)
		return r;
	if (o->exec || o->no_workload || o->n_volumes || o->hostname || (o->env && o->env[0]))
		r = need_agent(&b->revision.rev.run, err);
	if (r < 0)
		return mvm_error_context(err, r, "template '%s'", b->revision.id);
	r = volumes_resolve(b->mvm, o->volumes, o->n_volumes, b->n, &b->volumes, err);
	b->options.volumes = b->volumes;
	if (r == 0)
		r = revision_trust(b->mvm, &b->revision, o->verify, b->progress, err);
	if (r == 0)
		r = start_decide(&b->request, &b->plan, err);
	if (r < 0)
		return r;
	if (!b->plan.restore && b->continues == RECORD_CONTINUES_SUSPENDED) {
		r = mvm_error_set(err, -EOPNOTSUPP, "the suspended VM cannot go on here: %s",
				  b->plan.reason);
		return mvm_error_reason(err, r, "suspended-unusable", b->again->name);
	}
	if (!b->plan.restore && o->kind == MVM_START_REQUIRE_SNAPSHOT)
		return mvm_error_set(err, -EOPNOTSUPP, "cannot restore '%s'%s: %s", o->template_ref,
				     start_wants_suspend(o) ? ", and a VM that boots cannot be "
							      "suspended"
							    : "",
				     b->plan.reason);
	if (b->plan.reason)
		progress_note(b->progress, "booting instead of restoring: %s", b->plan.reason);
	return check_room(b, err);
}

#define START_OPTIONS_FIRST STRUCT_END(struct mvm_start_options, log_max_bytes)

/* The host's name servers are the guest's, unless it has others. */
static void name_servers_note(const struct batch *b)
{
	const struct mvm_run *run = &b->revision.rev.run;
	const char *const *own = b->options.network_dns;
	if (run->network == MVM_NETWORK_NONE || b->options.no_network || run->dns.n > 0 ||
	    (own && own[0]) || (b->again && b->again->network_dns.n > 0))
		return;
	AUTO_FREE char *text = name_servers_text();
	AUTO_FREE char *problem = text && name_servers_none(text) ? name_servers_problem(text)
								  : NULL;
	if (problem)
		progress_note(b->progress, "the guest may find no names: %s", problem);
}

static int start_batch(struct batch *b, struct mvm_error *err)
{
	int r = plan(b, err);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "the start");
	if (r < 0)
		return r;
	name_servers_note(b);
	return start_all(b, err);
}

int mvm_instance_start_many(struct mvm *mvm, const struct mvm_start_options *options, uint32_t n,
			    const struct mvm_progress *progress, struct mvm_instance **ret,
			    struct mvm_error *err)
{
	struct mvm_error local = { 0 };
	struct progress_watch watch;
	AUTO_DONE(batch) b = {
		.mvm = mvm,
		.revision = REVISION_NONE,
		.n = n,
		.list = ret,
	};

	if (!err)
		err = &local;
	memset(ret, 0, n * sizeof(*ret));
	int r = progress_take(&watch, &progress, err);
	b.progress = progress;
	if (r == 0)
		r = mvm_struct_take(&b.options, sizeof(b.options), START_OPTIONS_FIRST, options,
				    err);
	if (r < 0)
		return r;
	if (!b.options.template_ref)
		return mvm_error_set(err, -EINVAL, "no template is named");
	if (n == 0 || n > MVM_START_MANY_MAX)
		return mvm_error_set(err, -EINVAL, "one call can start from 1 to %u instances",
				     MVM_START_MANY_MAX);
	r = start_options_check(&b.options, err);
	if (r < 0)
		return r;
	settle_after_boot(mvm, progress); /* a failure there does not matter here */
	return start_batch(&b, err);
}

int start_again(struct mvm *mvm, const struct record *again,
		const struct mvm_start_options *options, const struct mvm_progress *progress,
		struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(batch) b = {
		.mvm = mvm,
		.options = *options,
		.again = again,
		.progress = progress,
		.revision = REVISION_NONE,
		.n = 1,
		.list = ret,
	};
	return start_batch(&b, err);
}

int start_suspended(struct mvm *mvm, const struct record *record,
		    const struct mvm_start_options *options, const struct mvm_progress *progress,
		    struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(batch) b = {
		.mvm = mvm,
		.options = *options,
		.again = record,
		.continues = RECORD_CONTINUES_SUSPENDED,
		.progress = progress,
		.revision = REVISION_NONE,
		.n = 1,
		.list = ret,
	};
	b.options.kind = MVM_START_REQUIRE_SNAPSHOT;
	return start_batch(&b, err);
}

int start_forks(struct mvm *mvm, const struct record *origin, int saved_fd,
		const struct mvm_start_options *options, uint32_t n,
		const struct mvm_progress *progress, struct mvm_instance **ret,
		struct mvm_error *err)
{
	AUTO_DONE(batch) b = {
		.mvm = mvm,
		.options = *options,
		.continues = RECORD_CONTINUES_FORK,
		.origin = origin,
		.saved_fd = saved_fd,
		.progress = progress,
		.revision = REVISION_NONE,
		.n = n,
		.list = ret,
	};
	b.options.kind = MVM_START_REQUIRE_SNAPSHOT;
	return start_batch(&b, err);
}

int mvm_instance_start(struct mvm *mvm, const struct mvm_start_options *options,
		       const struct mvm_progress *progress, struct mvm_instance **ret,
		       struct mvm_error *err)
{
	return mvm_instance_start_many(mvm, options, 1, progress, ret, err);
}
