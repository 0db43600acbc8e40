/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions of instances (mvm/instance.h), by handle and by name, except the start. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/progress.h"
#include "instance/events.h"
#include "instance/exec.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "instance/session.h"
#include "net/agent.h"
#include "net/message.h"
#include "net/wire.h"
#include "start/start.h"
#include "start/suspend.h"
#include "start/volumes.h"

#define KILL_GRACE_MS	  INT64_C(60000)
#define PAUSE_DEADLINE_MS INT64_C(30000)

static int instances_dir(struct mvm *mvm, struct mvm_error *err)
{
	return store_dir_get(mvm->store, STORE_INSTANCES, err);
}

/* ---- one instance, by its handle ---- */

int mvm_instance_open(struct mvm *mvm, const char *name, struct mvm_instance **ret,
		      struct mvm_error *err)
{
	int fd = instances_dir(mvm, err);
	return fd < 0 ? fd : instance_connect(fd, name, NULL, ret, err);
}

void mvm_instance_close(struct mvm_instance *i)
{
	instance_close(i);
}

void mvm_instance_keep(struct mvm_instance *i)
{
	instance_keep(i);
}

const char *mvm_instance_name(const struct mvm_instance *i)
{
	return i->name;
}

const char *mvm_instance_start_json(const struct mvm_instance *i)
{
	return i->start_json;
}

#define EXEC_OPTIONS_FIRST STRUCT_END(struct mvm_exec_options, cancel_fd)

static int fd_or(const int *fd, int otherwise)
{
	return fd ? *fd : otherwise;
}

int mvm_instance_exec(struct mvm_instance *i, const struct mvm_exec_options *options,
		      int *ret_status, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	struct winsize size = { 0 };
	struct mvm_exec_options o;
	AUTO_CLOSE int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	int r = null_fd < 0 ? mvm_error_set(err, -errno, "/dev/null: %s", strerror(errno))
			    : mvm_struct_take(&o, sizeof(o), EXEC_OPTIONS_FIRST, options, err);
	if (r < 0)
		return r;
	if (!o.command || !o.command[0])
		return mvm_error_set(err, -EINVAL, "there is no command to run");
	int stdin_fd = fd_or(o.stdin_fd, -1);
	exec_put_command(&args, o.command, o.env, o.workdir, o.user);
	wire_put_u64(&args, FIELD_STDIN, stdin_fd >= 0);
	if (o.tty) {
		wire_put_u64(&args, FIELD_TTY, 1);
		if (ioctl(stdin_fd, TIOCGWINSZ, &size) == 0) {
			wire_put_u64(&args, FIELD_ROWS, size.ws_row);
			wire_put_u64(&args, FIELD_COLUMNS, size.ws_col);
		}
	}
	const struct session_spec exec = {
		.call = CALL_EXEC,
		.args = &args,
		.stdin_fd = stdin_fd,
		.stdout_fd = fd_or(o.stdout_fd, null_fd),
		.stderr_fd = fd_or(o.stderr_fd, null_fd),
		.signal_fd = fd_or(o.signal_fd, -1),
		.tty_fd = o.tty ? stdin_fd : -1,
		.deadline_ns = o.timeout_ms > 0 ? clock_deadline_ns(o.timeout_ms) : DEADLINE_NONE,
	};
	i->control.cancel_fd = fd_or(o.cancel_fd, -1);
	r = session_run(&i->control, &exec, ret_status, err);
	i->control.cancel_fd = -1;
	return r;
}

int mvm_instance_finish(struct mvm_instance *i, int64_t timeout_ms,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	struct mvm_error why = { 0 };
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	if (r < 0)
		return r;
	wire_put_u64(&args, FIELD_TIMEOUT_MS, (uint64_t)timeout_ms);
	i->control.progress = progress;
	r = control_call(&i->control, CALL_STOP, NULL, &args,
			 clock_deadline_ns(timeout_ms + KILL_GRACE_MS), NULL, &why);
	i->control.progress = NULL;
	if (r == -EREMOTEIO)
		return 0; /* it has ended already */
	return r < 0 ? mvm_error_hand_on(err, &why) : 0;
}

int instance_wait(struct mvm_instance *i, int64_t timeout_ms, int *ret_status,
		  struct mvm_error *err)
{
	AUTO_DONE(strbuf) reply = { 0 };
	struct mvm_error why = { 0 };
	control_watch(&i->control, 0, 0); /* it waits for as long as it takes */
	int r = control_call(&i->control, CALL_WAIT, NULL, NULL, clock_deadline_ns(timeout_ms),
			     &reply, &why);
	control_watch(&i->control, CONTROL_QUIET_MS, CONTROL_ANSWER_MS);
	if (r < 0 && r != -EREMOTEIO)
		return mvm_error_hand_on(err, &why);
	int status = r < 0 ? r : message_get_end(reply.data, reply.len, NULL);
	if (ret_status)
		*ret_status = status < 0 ? -1 : status;
	return 0;
}

/* Put a wait's time limit and cancel_fd into the control. */
static int begin_wait(struct mvm_instance *i, const struct mvm_wait_options *options,
		      int64_t *ret_timeout_ms, struct mvm_error *err)
{
	struct mvm_wait_options o;
	int r = mvm_struct_take(&o, sizeof(o), STRUCT_END(struct mvm_wait_options, cancel_fd),
				options, err);
	if (r < 0)
		return r;
	*ret_timeout_ms = o.timeout_ms > 0 ? o.timeout_ms : -1;
	i->control.cancel_fd = fd_or(o.cancel_fd, -1);
	return 0;
}

int mvm_instance_wait(struct mvm_instance *i, const struct mvm_wait_options *options,
		      int *ret_status, struct mvm_error *err)
{
	int64_t timeout_ms;
	int r = begin_wait(i, options, &timeout_ms, err);
	if (r == 0)
		r = instance_wait(i, timeout_ms, ret_status, err);
	i->control.cancel_fd = -1;
	return r;
}

int mvm_instance_wait_workload(struct mvm_instance *i, const struct mvm_wait_options *options,
			       int *ret_status, struct mvm_error *err)
{
	AUTO_DONE(strbuf) reply = { 0 };
	int64_t timeout_ms;
	int r = begin_wait(i, options, &timeout_ms, err);
	control_watch(&i->control, 0, 0);
	if (r == 0)
		r = control_call(&i->control, CALL_AWAIT, "waiting for the workload", NULL,
				 clock_deadline_ns(timeout_ms), &reply, err);
	control_watch(&i->control, CONTROL_QUIET_MS, CONTROL_ANSWER_MS);
	i->control.cancel_fd = -1;
	if (r < 0)
		return r;
	r = message_get_end(reply.data, reply.len, NULL);
	if (r < 0)
		return mvm_error_set(err, r, "the agent's answer has no exit status");
	*ret_status = r;
	return 0;
}

/* ---- by name ---- */

void mvm_instance_info_free(struct mvm_instance_info *info)
{
	if (!info)
		return;
	char *strings[] = { info->name,	      info->template_id, info->revision,
			    info->reason,     info->backend,	 info->created_at,
			    info->started_at, info->ended_at,	 info->error,
			    info->json,	      info->health,	 info->health_message,
			    info->expires_at };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(strings); i++)
		free(strings[i]);
	free(info->forwards);
	free(info->network_problem);
	free(info->disk_problem);
	free(info->suspend_problem);
	free(info->forked_from);
	free((void *)info->network_allow); /* one block each */
	free((void *)info->network_deny);
	free((void *)info->network_dns);
	free((void *)info->labels);
	free(info->refusals);
	free(info);
}
DEFINE_AUTO(mvm_instance_info, mvm_instance_info_free)
DEFINE_LIST_FREE(mvm_instance_list_free, mvm_instance_info, mvm_instance_info_free)

/* The list and its strings in one block of memory; free(3) it.  NULL: out of memory. */
static const char *const *one_block(const struct strv *list)
{
	size_t size = (list->n + 1) * sizeof(char *);
	for (size_t i = 0; i < list->n; i++)
		size += strlen(list->v[i]) + 1;
	const char **ret = malloc(size);
	if (!ret)
		return NULL;
	char *at = (char *)(ret + list->n + 1);
	for (size_t i = 0; i < list->n; i++) {
		size_t len = strlen(list->v[i]) + 1;
		ret[i] = memcpy(at, list->v[i], len);
		at += len;
	}
	ret[list->n] = NULL;
	return (const char *const *)ret;
}

/* With the texts behind them, in the same block. */
static int add_refusals(const struct record *rec, struct mvm_instance_info *info)
{
	size_t n = rec->n_network_refusals;
	info->refusals = calloc(1, n * (sizeof(*info->refusals) + sizeof(*rec->network_refusals)));
	if (n == 0)
		return 0;
	if (!info->refusals)
		return -ENOMEM;
	struct record_refusal *texts = (struct record_refusal *)(info->refusals + n);
	memcpy(texts, rec->network_refusals, n * sizeof(*texts));
	for (size_t i = 0; i < n; i++)
		info->refusals[i] = (struct mvm_refusal){
			.target = texts[i].target,
			.port = texts[i].port,
			.protocol = texts[i].protocol,
			.reason = texts[i].reason,
			.count = texts[i].count,
			.last_at = texts[i].last_at,
		};
	info->n_refusals = n;
	return 0;
}

/* Takes the record's strings. */
static struct mvm_instance_info *info_from_record(struct record *rec, int dir_fd)
{
	rec->has_usage = true;
	usage_read((pid_t)rec->vmm_pid, (pid_t)rec->supervisor_pid, dir_fd, &rec->usage);
	AUTO(mvm_instance_info) info = calloc(1, sizeof(*info));
	if (!info)
		return NULL;
	rec->held = false; /* internal to the starter */
	info->json = record_to_json(rec);
	info->forwards = calloc(rec->n_forwards + 1, sizeof(*info->forwards));
	if (!info->json || !info->forwards)
		return NULL;
	info->n_forwards = rec->n_forwards;
	for (size_t i = 0; i < rec->n_forwards; i++) {
		struct mvm_forward *to = &info->forwards[i];
		to->udp = rec->forwards[i].udp;
		to->host_port = rec->forwards[i].host_port;
		to->guest_port = rec->forwards[i].guest_port;
		memcpy(to->host_address, rec->forwards[i].host_address, sizeof(to->host_address));
	}
	info->name = TAKE_PTR(rec->name);
	info->template_id = TAKE_PTR(rec->template_id);
	info->revision = TAKE_PTR(rec->revision);
	info->state = (enum mvm_instance_state)rec->state; /* equal values, asserted below */
	info->restored = rec->restore;
	info->from_pool = rec->from_pool;
	info->reason = TAKE_PTR(rec->reason);
	info->backend = TAKE_PTR(rec->backend);
	info->created_at = TAKE_PTR(rec->created_at);
	info->started_at = TAKE_PTR(rec->started_at);
	info->ended_at = TAKE_PTR(rec->ended_at);
	info->error = TAKE_PTR(rec->error);
	info->health = strdup(record_health_name(rec->health));
	if (!info->health)
		return NULL;
	info->health_message = TAKE_PTR(rec->health_message);
	info->expires_at = TAKE_PTR(rec->expires_at);
	info->restarts = rec->restarts;
	info->workload_ended = rec->workload_ended;
	info->exit_code = rec->has_exit_code ? (int)rec->exit_code : -1;
	info->cpu_ns = rec->usage.cpu_ns;
	info->memory_private_bytes = rec->usage.memory_private_bytes;
	info->memory_shared_bytes = rec->usage.memory_shared_bytes;
	info->disk_bytes = rec->usage.disk_bytes;
	info->vcpus = rec->vcpus;
	info->mem_mib = rec->mem_mib;
	info->start_ns = rec->n_stages ? rec->stages[rec->n_stages - 1].ns : 0;
	info->supervisor_pid = rec->supervisor_pid;
	info->vmm_pid = rec->vmm_pid;
	info->forked_from = TAKE_PTR(rec->forked_from);
	info->ttl_ms = rec->ttl_ms;
	info->ttl_action = (enum mvm_then)rec->ttl_action;
	info->on_idle_ms = rec->on_idle_ms;
	info->on_idle_action = (enum mvm_then)rec->on_idle_action;
	info->network_problem = TAKE_PTR(rec->network_problem);
	info->disk_problem = TAKE_PTR(rec->disk_problem);
	info->suspend_problem = TAKE_PTR(rec->suspend_problem);
	info->volumes_lost = rec->volumes_lost;
	info->network_refused = rec->network_refused;
	info->network_allow = one_block(&rec->network_allow);
	info->network_deny = one_block(&rec->network_deny);
	info->network_dns = one_block(&rec->network_dns);
	info->labels = one_block(&(struct strv){ .v = rec->labels.v, .n = rec->labels.n });
	if (!info->network_allow || !info->network_deny || !info->network_dns || !info->labels ||
	    add_refusals(rec, info) < 0)
		return NULL;
	return TAKE_PTR(info);
}

_Static_assert((int)MVM_RESTART_ON_FAILURE == (int)RECORD_RESTART_ON_FAILURE &&
		       (int)MVM_RESTART_UNLESS_STOPPED == (int)RECORD_RESTART_UNLESS_STOPPED,
	       "the public policies are the record's");
_Static_assert((int)MVM_THEN_SUSPEND == (int)RECORD_THEN_SUSPEND,
	       "the public actions are the record's");
_Static_assert((int)MVM_INSTANCE_STARTING == (int)RECORD_STARTING &&
		       (int)MVM_INSTANCE_SUSPENDED == (int)RECORD_SUSPENDED,
	       "the public states are the record's");

const char *mvm_instance_state_name(enum mvm_instance_state state)
{
	return record_state_name((enum record_state)state);
}

int mvm_instance_inspect(struct mvm *mvm, const char *name, struct mvm_instance_info **ret,
			 struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	int fd = instances_dir(mvm, err);
	AUTO_CLOSE int dir_fd = -1;
	int r = fd < 0 ? fd : instance_load(fd, name, &rec, &dir_fd, err);
	if (r < 0)
		return r;
	*ret = info_from_record(&rec, dir_fd);
	return *ret ? 0 : mvm_error_oom(err);
}

/* What can be shown of an instance whose record cannot be read.  0 or -ENOMEM. */
static int unread_record(int instances_fd, const char *name, const struct mvm_error *why,
			 struct record *ret)
{
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, name);
	bool failed = false;
	ret->name = str_dup(name, &failed);
	ret->template_id = str_dup("", &failed);
	ret->revision = str_dup("", &failed);
	ret->backend = str_dup("", &failed);
	ret->created_at = str_dup("", &failed);
	ret->cmdline = str_dup("", &failed);
	ret->error = str_dup(why->text, &failed);
	/* a newer mvm can use its own record */
	ret->state = why->code == -EOPNOTSUPP && lock_is_held_at(dir_fd, INSTANCE_LOCK_NAME)
			     ? RECORD_RUNNING
			     : RECORD_FAILED;
	return failed ? -ENOMEM : 0;
}

int mvm_instance_list(struct mvm *mvm, struct mvm_instance_info ***ret, size_t *ret_n,
		      struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	size_t n = 0;
	int r = store_dir_names(mvm->store, STORE_INSTANCES, &names, err);
	if (r < 0)
		return r;
	int fd = store_dir(mvm->store, STORE_INSTANCES);
	struct mvm_instance_info **list = calloc(names.n + 1, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	for (size_t i = 0; i < names.n; i++) {
		AUTO_DONE(record) rec = { 0 };
		struct mvm_error why;
		AUTO_CLOSE int dir_fd = -1;
		r = instance_load(fd, names.v[i], &rec, &dir_fd, &why);
		/* others may just be coming or going, or are a user's own folders */
		if (r < 0 && r != -EOPNOTSUPP && !str_eq(why.reason, "instance-damaged"))
			continue;
		if (r < 0)
			r = unread_record(fd, names.v[i], &why, &rec);
		if (r == 0 && rec.purpose == RECORD_FOR_USER)
			list[n] = info_from_record(&rec, dir_fd);
		n += list[n] != NULL;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

static int stop(struct mvm *mvm, const char *name, int64_t timeout_ms,
		const struct mvm_progress *progress, struct mvm_error *err)
{
	const struct copy_options options = {
		.stream_fd = -1,
		.timeout_ms = timeout_ms,
		.progress = progress,
	};
	int64_t deadline_ns = clock_deadline_ns(timeout_ms);
	struct mvm_error why = { 0 };
	bool left = false;
	int fd = instances_dir(mvm, err);
	int r = fd < 0 ? fd : stop_suspended(mvm, name, err);
	if (r)
		return r < 0 ? r : 0;
	if (timeout_ms != 0)
		r = volumes_bring_back(mvm, name, &options, &left, &why);
	if (r >= 0) {
		/* 0 would tell a supervisor that copies back to kill at once */
		int64_t left_ms = clock_remaining_ms(deadline_ns);
		r = instance_stop(fd, name, left && left_ms == 0 ? 1 : left_ms, progress, err);
		/* -EBUSY: it has ended meanwhile, as the caller wants */
		return (r == 0 || r == -EBUSY) && left ? volumes_check_returned(mvm, name, err) : r;
	}
	int ended = volumes_check_ended(mvm, name, &why, err);
	if (ended < 0)
		return ended;
	r = mvm_error_hand_on(err, &why);
	if (r != -ENOENT && r != -EBUSY && r != -EOPNOTSUPP) { /* the latter: of a newer mvm */
		mvm_error_context(err, r, "instance '%s' runs on", name);
		r = mvm_error_reason_unless(err, r, "volumes-not-back", name);
	}
	return r;
}

int mvm_instance_stop(struct mvm *mvm, const char *name, int64_t timeout_ms,
		      const struct mvm_progress *progress, struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	return r < 0 ? r : stop(mvm, name, timeout_ms, progress, err);
}

int mvm_instance_rename(struct mvm *mvm, const char *name, const char *new_name,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	int fd = r < 0 ? r : instances_dir(mvm, err);
	if (fd < 0)
		return fd;
	r = instance_rename(fd, name, new_name, store_dir(mvm->store, STORE_LOGS), progress, err);
	return store_mend(mvm->store, r, err);
}

/* args may be NULL. */
static int call_by_name(struct mvm *mvm, const char *name, unsigned call, const struct strbuf *args,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	int fd = instances_dir(mvm, err);
	int r = fd < 0 ? fd : instance_connect(fd, name, progress, &i, err);
	if (r < 0)
		return r;
	r = control_call(&i->control, call, NULL, args, clock_deadline_ns(PAUSE_DEADLINE_MS), NULL,
			 err);
	if (r == -ETIMEDOUT)
		r = mvm_error_reason_unless(err, r, "vm-silent", name);
	/* as the VMM's own errors begin */
	return r < 0 ? mvm_error_context(err, r, "VM '%s'", name) : 0;
}

int mvm_instance_pause(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
		       struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	return r < 0 ? r : call_by_name(mvm, name, CALL_PAUSE, NULL, progress, err);
}

int mvm_instance_resume(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
			struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = resume_suspended(mvm, name, progress, err);
	if (r != 0)
		return r < 0 ? r : 0;
	return call_by_name(mvm, name, CALL_RESUME, NULL, progress, err);
}

int mvm_instance_set_ttl(struct mvm *mvm, const char *name, int64_t ttl_ms,
			 const struct mvm_progress *progress, struct mvm_error *err)
{
	struct progress_watch watch;
	AUTO_DONE(strbuf) args = { 0 };
	int r = progress_take(&watch, &progress, err);
	if (r == 0 && (ttl_ms < 0 || ttl_ms > TTL_MAX_MS))
		r = mvm_error_set(err, -EINVAL, "ttl_ms is not 0 to %" PRId64 ": %" PRId64,
				  TTL_MAX_MS, ttl_ms);
	if (r < 0)
		return r;
	wire_put_u64(&args, FIELD_TIMEOUT_MS, (uint64_t)ttl_ms);
	return call_by_name(mvm, name, CALL_TTL, &args, progress, err);
}

static int remove_by(struct mvm *mvm, const char *name, bool force, bool named,
		     const struct mvm_progress *progress, struct mvm_error *err)
{
	int fd = instances_dir(mvm, err);
	if (fd < 0)
		return fd;
	AUTO_DONE(record) rec = { 0 };
	bool known = instance_load(fd, name, &rec, NULL, NULL) == 0; /* remove damaged ones, too */
	int r = instance_remove(fd, name, force, named, progress, err);
	if (r == -ENOENT && known && record_removes_itself(&rec))
		return 0; /* it has removed itself */
	if (r == -ENOENT && known)
		return mvm_error_set(err, r, "another process has removed instance '%s' meanwhile",
				     name);
	if (r >= 0 && known)
		events_add(store_dir(mvm->store, STORE_LOGS), "removed", &rec, NULL);
	return r;
}

int mvm_instance_remove(struct mvm *mvm, const char *name, bool force,
			const struct mvm_progress *progress, struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	return r < 0 ? r : remove_by(mvm, name, force, true, progress, err);
}

int mvm_instance_remove_unnamed(struct mvm *mvm, const char *name, bool force,
				const struct mvm_progress *progress, struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	return r < 0 ? r : remove_by(mvm, name, force, false, progress, err);
}

#define LOGS_OPTIONS_FIRST STRUCT_END(struct mvm_logs_options, arg)

int mvm_instance_logs(struct mvm *mvm, const char *name, const struct mvm_logs_options *options,
		      struct mvm_error *err)
{
	struct mvm_logs_options o;
	int fd = instances_dir(mvm, err);
	int r = fd < 0 ? fd : mvm_struct_take(&o, sizeof(o), LOGS_OPTIONS_FIRST, options, err);
	if (r < 0)
		return r;
	if (!o.fn && !o.out_fd)
		return mvm_error_set(err, -EINVAL, "the log has neither a callback nor an out_fd");
	const struct logs_options logs = {
		.console = o.console,
		.workload = o.workload,
		.timestamps = o.timestamps,
		.tail = o.tail && *o.tail <= INT64_MAX ? (int64_t)*o.tail : -1,
		.since = o.since,
		.follow = o.follow,
		.cancel_fd = fd_or(o.cancel_fd, -1),
		.out_fd = fd_or(o.out_fd, -1),
		.visible = o.visible,
		.fn = o.fn,
		.arg = o.arg,
	};
	return instance_logs(fd, name, &logs, err);
}
