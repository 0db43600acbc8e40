/* SPDX-License-Identifier: Apache-2.0 */
/* List the processes in a guest, and signal its workload. */
#include <errno.h>
#include <inttypes.h>
#include <mvm/stream.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/signals.h"
#include "instance/instance.h"
#include "net/agent.h"
#include "net/wire.h"
#include "start/context.h"

#define DEADLINE_MS INT64_C(30000)

static int call(struct mvm *mvm, const char *name, unsigned number, const struct strbuf *args,
		const struct mvm_progress *progress, struct strbuf *ret, struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_connect(fd, name, progress, &i, err);
	if (r < 0)
		return r;
	r = control_call(&i->control, number, NULL, args, clock_deadline_ns(DEADLINE_MS), ret, err);
	if (r == -ETIMEDOUT)
		r = mvm_error_reason_unless(err, r, "vm-silent", name);
	return r < 0 ? mvm_error_context(err, r, "instance '%s'", name) : 0;
}

int mvm_instance_kill(struct mvm *mvm, const char *name, const char *signal,
		      const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	unsigned number = signal_parse(signal);
	struct progress_watch watch;

	if (str_eq(signal, "0"))
		return mvm_error_set(err, -EINVAL,
				     "signal 0 is never sent: the state of '%s' says whether it "
				     "runs",
				     name);
	if (number == 0)
		return mvm_error_set(err, -EINVAL, "'%s' is no signal: write TERM, SIGTERM or 15",
				     signal);
	if (number == SIGKILL)
		return mvm_instance_stop(mvm, name, 0, progress, err);
	int r = progress_take(&watch, &progress, err);
	if (r < 0)
		return r;
	wire_put_u64(&args, FIELD_SIGNAL, number);
	return call(mvm, name, CALL_SIGNAL, &args, progress, NULL, err);
}

/* Parse a line of guest/processes.c. */
static int take_process(const char *line, uint64_t tick_ns, uint64_t page_bytes, mvm_process_fn fn,
			void *arg, struct mvm_error *err)
{
	struct mvm_process p = { 0 };
	uint64_t ticks, pages;
	int command = 0;

	/* NOLINTNEXTLINE(cert-err34-c): sscanf clamps numbers, and any number will do */
	if (sscanf(line, "%" SCNd64 " %" SCNd64 " %" SCNu32 " %c %" SCNu64 " %" SCNu64 " %n",
		   &p.pid, &p.parent_pid, &p.uid, &p.state, &ticks, &pages, &command) != 6 ||
	    command == 0)
		return mvm_error_set(err, -EPROTO, "the agent's list of processes is damaged");
	p.cpu_ns = (int64_t)(ticks * tick_ns);
	p.memory_bytes = pages * page_bytes;
	p.command = line + command;
	return fn(arg, &p);
}

int mvm_instance_processes(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
			   mvm_process_fn fn, void *arg, struct mvm_error *err)
{
	AUTO_DONE(strbuf) reply = { 0 };
	struct wire_field field;
	uint64_t tick_ns = 0, page_bytes = 0;
	struct progress_watch watch;
	size_t n = 0;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = call(mvm, name, CALL_PROCESSES, NULL, progress, &reply, err);
	if (r < 0)
		return r;
	/* without one of these fields the product is 0, for unknown */
	wire_find_u64(reply.data, reply.len, FIELD_TIME_NS, UINT64_MAX, &tick_ns);
	wire_find_u64(reply.data, reply.len, FIELD_MEMORY_BYTES, UINT64_MAX, &page_bytes);
	struct wire_reader reader = { (const uint8_t *)reply.data, reply.len };
	while (r == 0 && wire_next(&reader, &field) > 0) {
		AUTO_FREE char *line = NULL;
		if (field.tag != FIELD_ARG)
			continue;
		r = wire_get_str(&field, &line);
		r = r < 0 ? mvm_error_set(err, r, "the agent's list of processes is damaged")
			  : take_process(line, tick_ns, page_bytes, fn, arg, err);
		n++;
	}
	if (r == 0 && n == 0) /* not even the agent: an empty folder is in the place of /proc */
		r = mvm_error_set(err, -EIO, "instance '%s': the guest's /proc shows no process",
				  name);
	return r;
}

int mvm_exec_list(struct mvm *mvm, const char *instance, const struct mvm_progress *progress,
		  mvm_exec_list_fn fn, void *arg, struct mvm_error *err)
{
	AUTO_DONE(strbuf) reply = { 0 };
	struct wire_field field;
	struct progress_watch watch;
	uint64_t pid = 0;

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = call(mvm, instance, CALL_KEPT_LIST, NULL, progress, &reply, err);
	if (r < 0)
		return r;
	struct wire_reader reader = { (const uint8_t *)reply.data, reply.len };
	while (r == 0 && wire_next(&reader, &field) > 0) {
		AUTO_FREE char *note = NULL;
		if (field.tag == FIELD_PID && (wire_get_u64(&field, &pid) < 0 || pid > INT32_MAX))
			r = -EPROTO;
		else if (field.tag == FIELD_NOTE)
			r = wire_get_str(&field, &note);
		if (r < 0)
			return mvm_error_set(err, r, "the agent's list of commands is damaged");
		if (note)
			r = fn(arg, (int64_t)pid, note);
	}
	return r;
}
