/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fork a running instance.  Its supervisor keeps the state in a folder below the instance's, for as
 * long as we are connected.  We move that folder into our staging, so that it stays when the
 * instance is stopped or removed.  The forks start from there, as clones start from a snapshot.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <mvm/suspend.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/progress.h"
#include "instance/instance.h"
#include "instance/saved.h"
#include "net/agent.h"
#include "net/wire.h"
#include "start/again.h"
#include "start/fork.h"
#include "start/start.h"
#include "store/store.h"

#define FORK_DEADLINE_MS INT64_C(600000)

#define FORK_OPTIONS_FIRST STRUCT_END(struct mvm_fork_options, remove_at_end)

/* Move the folder of the kept state into staging.  If staging is on another file system, the folder
 * stays where it is, and goes with the origin. */
static int take_state(int instance_fd, const char *name, struct staging *st, struct mvm_error *err)
{
	int r = renameat(instance_fd, name, st->fd, SAVED_FORK) < 0 ? -errno : 0;
	int fd = r;
	if (r == 0)
		fd = dir_open_at(st->fd, SAVED_FORK);
	else if (r == -EXDEV)
		fd = dir_open_at(instance_fd, name);
	if (fd == -ENOENT)
		return mvm_error_set(err, -ESRCH, "it ended before its forks could start");
	return fd < 0 ? mvm_error_set(err, fd, "cannot open the forked state: %s", strerror(-fd))
		      : fd;
}

/* Have the supervisor keep the state.  Returns the state's folder, or -errno. */
static int keep_state(struct mvm_instance *origin, int instance_fd, struct staging *st,
		      const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(strbuf) reply = { 0 };
	AUTO_FREE char *name = NULL;
	struct wire_field f;
	uint64_t paused_ns = 0;
	/* the supervisor is busy writing files, so do not ask whether it lives */
	control_watch(&origin->control, 0, 0);
	int r = control_call(&origin->control, CALL_FORK, NULL, NULL,
			     clock_deadline_ns(FORK_DEADLINE_MS), &reply, err);
	if (r < 0)
		return r;
	if (wire_find(reply.data, reply.len, FIELD_NAME, &f) <= 0 || wire_get_str(&f, &name) < 0 ||
	    !name_is_unique(name, SAVED_FORK))
		return mvm_error_set(err, -EPROTO, "the supervisor named no folder");
	wire_find_u64(reply.data, reply.len, FIELD_TIME_NS, INT64_MAX, &paused_ns);
	progress_note(progress, "%s: stood still for %.0f ms", origin->name,
		      (double)paused_ns / NS_PER_MS);
	return take_state(instance_fd, name, st, err);
}

int fork_keep(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
	      struct fork_state *ret, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	AUTO_DONE(fork_state) state = FORK_STATE_NONE;
	AUTO_CLOSE int instance_fd = -1;
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_load(fd, name, &rec, &instance_fd, err);
	if (r == 0)
		r = store_stage(mvm->store, &state.staging, err);
	if (r == 0)
		r = instance_connect(fd, name, progress, &state.origin, err);
	if (r != 0)
		return r;
	state.fd = keep_state(state.origin, instance_fd, &state.staging, progress, err);
	if (state.fd < 0)
		return store_mend(mvm->store, state.fd, err);
	if (file_is_at(state.fd, state.staging.fd, SAVED_FORK))
		mvm_instance_close(TAKE_PTR(state.origin)); /* the origin may end now */
	*ret = state;
	state = (struct fork_state)FORK_STATE_NONE;
	return 0;
}

void fork_state_done(struct fork_state *s)
{
	auto_close(&s->fd);
	mvm_instance_close(s->origin);
	staging_done(&s->staging);
	*s = (struct fork_state)FORK_STATE_NONE;
}

/* The origin's labels and then these, so that these count.  All are borrowed; free(3) the array. */
static const char **join_labels(const char *const *origin, const char *const *more)
{
	size_t n = 0, n_more = 0;
	while (origin && origin[n])
		n++;
	while (more && more[n_more])
		n_more++;
	const char **all = calloc(n + n_more + 1, sizeof(*all));
	if (all && n > 0)
		memcpy(all, origin, n * sizeof(*all));
	if (all && n_more > 0)
		memcpy(all + n, more, n_more * sizeof(*all));
	return all;
}

/* The origin's options, changed for its forks. */
static int fork_options(struct again *a, const struct mvm_fork_options *o, const char ***ret_labels,
			struct mvm_error *err)
{
	int r = again_options(a, err);
	if (r < 0)
		return r;
	*ret_labels = join_labels(a->options.labels, o->labels);
	if (!*ret_labels)
		return mvm_error_oom(err);
	a->options.labels = *ret_labels;
	a->options.name = o->name;
	a->options.hostname = NULL;
	a->options.held = o->held;
	a->options.remove_at_end = o->remove_at_end;
	/* the volumes' files are in the saved memory or disk already */
	a->options.volumes = NULL;
	a->options.n_volumes = 0;
	for (size_t i = 0; i < a->options.n_forwards; i++)
		a->forwards[i].host_port = 0; /* the origin has its own */
	return 0;
}

static int fork_all(struct mvm *mvm, const char *name, const struct mvm_fork_options *o, uint32_t n,
		    const struct mvm_progress *progress, struct mvm_instance **ret,
		    struct mvm_error *err)
{
	AUTO_DONE(again) a = { 0 };
	AUTO_DONE(fork_state) state = FORK_STATE_NONE;
	AUTO_FREE const char **labels = NULL;
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_load(fd, name, &a.record, NULL, err);
	if (r == 0)
		r = fork_options(&a, o, &labels, err);
	if (r != 0)
		return r;
	r = fork_keep(mvm, name, progress, &state, err);
	if (r < 0)
		return mvm_error_context(err, r, "instance '%s'", name);
	return start_forks(mvm, &a.record, state.fd, &a.options, n, progress, ret, err);
}

int mvm_instance_fork(struct mvm *mvm, const char *name, const struct mvm_fork_options *options,
		      uint32_t n, const struct mvm_progress *progress, struct mvm_instance **ret,
		      struct mvm_error *err)
{
	struct mvm_error local = { 0 };
	struct mvm_fork_options o = { 0 };
	struct progress_watch watch;

	if (!err)
		err = &local;
	memset(ret, 0, n * sizeof(*ret));
	int r = progress_take(&watch, &progress, err);
	if (r == 0 && options)
		r = mvm_struct_take(&o, sizeof(o), FORK_OPTIONS_FIRST, options, err);
	if (r < 0)
		return r;
	if (n == 0 || n > MVM_START_MANY_MAX)
		return mvm_error_set(err, -EINVAL, "one call can start from 1 to %u instances",
				     MVM_START_MANY_MAX);
	return fork_all(mvm, name, &o, n, progress, ret, err);
}
