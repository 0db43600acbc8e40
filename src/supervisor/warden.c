/* SPDX-License-Identifier: Apache-2.0 */
/* The warden's answers to its supervisor, and its work on record, events and folder. */
#include "supervisor/warden.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "instance/confine.h"
#include "instance/events.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "instance/logfile.h"
#include "model/load.h"
#include "model/name.h"
#include "net/wire.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"
#include "vmm/bus.h"

#define EVENT_NS     (NS_PER_S / 10) /* one more event each; a burst has EVENTS_BURST */
#define EVENTS_BURST 64
#define EVENT_BYTES  256u /* bytes of one event; a longer one counts as several */

#define LONGEST_ENTRY (1u << 20) /* a log is moved aside before it has more than that too much */

/* ---- the record ---- */

bool take_chars(char *to, size_t size, const struct wire_field *f)
{
	if (f->len >= size || memchr(f->data, '\0', f->len))
		return false;
	memcpy(to, f->data, f->len);
	to[f->len] = '\0';
	return true;
}

static void take_text(struct record *rec, uint16_t i, const struct wire_field *f)
{
	char *text = NULL;
	if (f->len > RECORD_TEXT_MAX || wire_get_str(f, &text) < 0)
		return;
	char **to = record_text(rec, i);
	free(*to);
	*to = text;
}

static void take_number(struct record *rec, uint16_t i, uint64_t n)
{
	switch ((enum record_number)i) {
	case NUMBER_STATE:
		rec->state = n <= RECORD_SUSPENDED ? (enum record_state)n : rec->state;
		break;
	case NUMBER_HEALTH:
		rec->health = n <= RECORD_HEALTH_UNHEALTHY ? (enum record_health)n : rec->health;
		break;
	case NUMBER_RESTARTS:
		rec->restarts = (unsigned)(n & INT32_MAX);
		break;
	case NUMBER_EXIT_CODE:
		rec->exit_code = n & UINT8_MAX;
		break;
	case NUMBER_HAS_EXIT_CODE:
		rec->has_exit_code = n;
		break;
	case NUMBER_WORKLOAD_ENDED:
		rec->workload_ended = n;
		break;
	case NUMBER_STOPPING:
		rec->stopping = n;
		break;
	case NUMBER_NETWORK_REFUSED:
		rec->network_refused = n & INT64_MAX;
		break;
	case NUMBER_VOLUMES_LOST:
		rec->volumes_lost = n;
		break;
	case NUMBER_HELD:
		rec->held = rec->held && n;
		break;
	case NUMBER_TTL_MS:
		rec->ttl_ms = (int64_t)(n & INT64_MAX);
		break;
	case RECORD_NUMBERS:
		break;
	}
}

static void take_stage(struct record *rec, const struct wire_field *f)
{
	struct record_stage s = { 0 };
	if (rec->n_stages < RECORD_STAGES_MAX && take_chars(s.name, sizeof(s.name), f))
		rec->stages[rec->n_stages++] = s;
}

/* A suspended VM outlives the host's boot.  If the record is lost, settle.c writes another. */
static void sync_record(const struct warden *w)
{
	int dir_fd = w->given->fd[SUPERVISOR_FD_INSTANCE];
	AUTO_CLOSE int fd = openat(dir_fd, RECORD_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && fsync(fd) == 0)
		dir_sync(dir_fd);
}

static void answer_save(struct warden *w, const struct strbuf *asked)
{
	struct wire_reader reader = { (const uint8_t *)asked->data, asked->len };
	struct record *rec = &w->record;
	struct wire_field f;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(record_texts); i++)
		set_string(record_text(rec, i), NULL);
	rec->n_stages = rec->n_network_refusals = 0;
	while (wire_next(&reader, &f) > 0) {
		uint64_t n;
		if (f.tag >= TAG_RECORD_TEXTS &&
		    f.tag < TAG_RECORD_TEXTS + MVM_ARRAY_SIZE(record_texts))
			take_text(rec, f.tag - TAG_RECORD_TEXTS, &f);
		else if (f.tag == TAG_STAGE)
			take_stage(rec, &f);
		else if (network_take_field(rec, &f) || wire_get_u64(&f, &n) < 0)
			continue;
		else if (f.tag == TAG_STAGE_NS && rec->n_stages)
			rec->stages[rec->n_stages - 1].ns = (int64_t)(n & INT64_MAX);
		else if (f.tag >= TAG_RECORD_NUMBERS && f.tag < TAG_RECORD_NUMBERS + RECORD_NUMBERS)
			take_number(rec, f.tag - TAG_RECORD_NUMBERS, n);
	}
	/* the VM counts as suspended only if our own files say so */
	if (rec->state == RECORD_SUSPENDED && !w->suspended)
		rec->state = RECORD_FAILED;
	/* see save_record() */
	int r = record_save(w->given->fd[SUPERVISOR_FD_INSTANCE], rec, NULL);
	if (r == 0 && rec->state == RECORD_SUSPENDED)
		sync_record(w);
	if (r != -EFBIG)
		return;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(record_texts); i++)
		set_string(record_text(rec, i), NULL);
	record_save(w->given->fd[SUPERVISOR_FD_INSTANCE], rec, NULL);
}

void warden_note_vmm(struct warden *w, int64_t pid, unsigned isolation)
{
	char text[VMM_ISOLATION_TEXT_SIZE];
	w->record.vmm_pid = pid;
	set_string(&w->record.isolation, vmm_isolation_text(isolation, text));
}

/* All instances share the events' file, so the events of each are bounded. */
static bool may_tell(struct warden *w, size_t bytes)
{
	int64_t now_ns = clock_now_ns();
	if (w->told_ns < now_ns - EVENTS_BURST * EVENT_NS)
		w->told_ns = now_ns - EVENTS_BURST * EVENT_NS;
	w->told_ns += EVENT_NS * (int64_t)(1 + bytes / EVENT_BYTES);
	return w->told_ns <= now_ns;
}

/* The event with this name, if a supervisor may report it; else NULL. */
static const char *event_named(const struct wire_field *f)
{
	static const char *const names[] = {
		"started", "healthy",	    "unhealthy",    "paused",	  "resumed",
		"volumes", "refused",	    "restarting",   "stopped",	  "exited",
		"failed",  "network",	    "network-down", "network-up", "suspended",
		"forked",  "not-suspended", "disk-error",   "ttl",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		if (f->len == strlen(names[i]) && memcmp(f->data, names[i], f->len) == 0)
			return names[i];
	}
	return NULL;
}

static void answer_tell(struct warden *w, const struct strbuf *asked)
{
	AUTO_FREE char *message = NULL;
	struct wire_field f;
	const char *event = wire_find(asked->data, asked->len, TAG_EVENT, &f) > 0 ? event_named(&f)
										  : NULL;
	if (wire_find(asked->data, asked->len, TAG_TEXT, &f) > 0 && f.len <= RECORD_TEXT_MAX)
		wire_get_str(&f, &message);
	size_t len = message ? strlen(message) : 0;
	if (!event || !may_tell(w, len < EVENTS_TEXT_MAX ? len : EVENTS_TEXT_MAX))
		return;
	events_add(w->given->fd[SUPERVISOR_FD_LOGS], event, &w->record, message);
}

static void answer_confine(struct warden *w, struct line_message *ret)
{
	confine(&w->record, network_pid(w));
	wire_put_str(&ret->fields, TAG_CGROUP, w->record.cgroup);
	wire_put_str(&ret->fields, TAG_LIMITS, w->record.cgroup_limits);
}

/* ---- the folder ---- */

static const char *const log_names[] = {
	[WARDEN_CONSOLE_LOG] = CONSOLE_LOG_NAME,
	[WARDEN_WORKLOAD_LOG] = WORKLOAD_LOG_NAME,
};

int log_open(struct warden *w, enum warden_log log, bool aside)
{
	return logfile_open(w->given->fd[SUPERVISOR_FD_INSTANCE], log_names[log], aside);
}

uint64_t log_longest(const struct record *rec)
{
	uint64_t most = rec->log_max_bytes > LOGFILE_MAX_DEFAULT ? rec->log_max_bytes
								 : LOGFILE_MAX_DEFAULT;
	return most + LONGEST_ENTRY;
}

/* The start that takes a VM of a pool chooses how long its logs may be. */
static void limit_logs(const struct warden *w, const struct record *rec)
{
	const struct rlimit most = { log_longest(rec), log_longest(rec) };
	if (w->shut_in > 0)
		prlimit(w->shut_in, RLIMIT_FSIZE, &most, NULL); /* see shut_in.c */
}

/* Open a log that is not full again.  Else each question would make a file, and it would keep its
 * blocks for as long as the supervisor has it open. */
static int answer_new_log(struct warden *w, uint64_t log, struct line_message *ret)
{
	int dir_fd = w->given->fd[SUPERVISOR_FD_INSTANCE];
	if (log >= WARDEN_LOGS)
		return -EINVAL;
	bool aside = logfile_may_renew(dir_fd, log_names[log], w->record.log_max_bytes);
	int fd = log_open(w, (enum warden_log)log, aside);
	if (fd >= 0)
		line_add_fd(ret, fd);
	return fd < 0 ? fd : 0;
}

static int open_parent(const struct warden *w)
{
	return openat(w->given->fd[SUPERVISOR_FD_INSTANCE], "..",
		      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Remove an instance that must leave nothing behind, even if its starter was killed.  Nobody would
 * know of a VM without a folder, so the VM ends, and no restart follows. */
static void answer_remove(struct warden *w)
{
	AUTO_CLOSE int parent_fd = open_parent(w);
	w->removed = true;
	vmm_put_away(w);
	if (parent_fd >= 0 &&
	    instance_folder_remove(parent_fd, w->record.name, w->given->fd[SUPERVISOR_FD_INSTANCE],
				   false) == 0)
		events_add(w->given->fd[SUPERVISOR_FD_LOGS], "removed", &w->record, NULL);
}

static void answer_release(struct warden *w)
{
	const int fds[] = { SUPERVISOR_FD_LEASE, SUPERVISOR_FD_REVISION };
	AUTO_CLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	vmm_put_away(w); /* if it still has them */
	copy_release(w);
	/* keep the numbers in use, or a later descriptor would look like a lease */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(fds); i++) {
		if (null_fd < 0 || dup3(null_fd, w->given->fd[fds[i]], O_CLOEXEC) < 0)
			close(w->given->fd[fds[i]]); /* never written to */
	}
}

/* ---- the adoption ---- */

static int not_this(const char *what, struct mvm_error *err)
{
	return mvm_error_set(err, -ESTALE, "the VM in the pool is another: its %s differs", what);
}

int record_check_fit(const struct record *have, const struct record *wanted, struct mvm_error *err)
{
	if (!wanted->restore || wanted->purpose != RECORD_FOR_USER)
		return mvm_error_set(err, -EPROTO, "that is no record of a restored instance");
	if (!str_eq(have->template_id, wanted->template_id) ||
	    !str_eq(have->revision, wanted->revision))
		return not_this("revision", err);
	if (!str_eq(have->backend, wanted->backend) ||
	    !str_eq(have->backend_version, wanted->backend_version) ||
	    !str_eq(have->accelerator, wanted->accelerator))
		return not_this("VMM", err);
	bool same = have->vcpus == wanted->vcpus && have->mem_mib == wanted->mem_mib;
	for (size_t i = 0; i < OWN_DISKS; i++)
		same &= have->disks[i].size_mib == wanted->disks[i].size_mib;
	if (!same)
		return not_this("machine", err);
	return 0;
}

/* The start that takes this VM has left its record here.  The supervisor cannot write such a file,
 * so no guest can choose which files are copied where. */
static int load_wanted(struct warden *w, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	int dir_fd = w->given->fd[SUPERVISOR_FD_INSTANCE];
	int r = file_read_at(dir_fd, INSTANCE_WANTED_NAME, LINE_BYTES_MAX, &text, &len);
	if (r < 0)
		return mvm_error_set(err, r, "no start wants this VM: %s", strerror(-r));
	unlinkat(dir_fd, INSTANCE_WANTED_NAME, 0); /* what stays is replaced by the next */
	r = record_parse(text, len, &w->wanted, err);
	if (r == 0)
		r = name_check(NAME_INSTANCE, w->wanted.name, err);
	return r < 0 ? r : record_check_fit(&w->record, &w->wanted, err);
}

/* Rename the folder, with its socket, lock and logs. */
static int rename_folder(const struct warden *w, const char *from, const char *to,
			 struct mvm_error *err)
{
	AUTO_CLOSE int parent_fd = open_parent(w);
	if (parent_fd >= 0 && renameat2(parent_fd, from, parent_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	return mvm_error_set(err, -errno, "cannot name the instance '%s': %s", to, strerror(errno));
}

static int answer_adopt(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	if (w->record.purpose != RECORD_FOR_POOL || w->wanted.name)
		return mvm_error_set(err, -EBUSY, "instance '%s' is not of a pool", w->record.name);
	int r = load_wanted(w, err);
	if (r == 0)
		r = rename_folder(w, w->record.name, w->wanted.name, err);
	if (r < 0) {
		record_done(&w->wanted);
		return r;
	}
	limit_logs(w, &w->wanted);
	ports6_done(&w->ports);
	r = ports6_open(&w->ports, w->loop, w->wanted.forwards, w->wanted.n_forwards, err);
	wire_put_bytes(&ret->fields, TAG_FORWARDS, w->ports.inner,
		       (uint32_t)(sizeof(w->ports.inner[0]) * w->wanted.n_forwards));
	network_put_name_servers(w, &ret->fields);
	return r;
}

/* Add the facts about this VM to the user's record, which becomes ours. */
void record_take_over(struct record *have, struct record *wanted)
{
	wanted->from_pool = true;
	wanted->volumes_note = TAKE_PTR(have->volumes_note);
	wanted->folder_inode = have->folder_inode;
	wanted->supervisor_pid = have->supervisor_pid;
	wanted->vmm_pid = have->vmm_pid;
	set_string(&wanted->isolation, have->isolation);
	for (size_t i = 0; i < OWN_DISKS; i++)
		wanted->disks[i].reflinked = have->disks[i].reflinked;
	record_done(have);
	*have = *wanted;
	*wanted = (struct record){ 0 };
}

static void answer_adopted(struct warden *w)
{
	if (w->wanted.name)
		record_take_over(&w->record, &w->wanted);
}

/* The caller will start another VM under this name. */
static void answer_give_up_adoption(struct warden *w)
{
	if (!w->wanted.name)
		return;
	rename_folder(w, w->wanted.name, w->record.name, NULL); /* it keeps that name, then */
	record_done(&w->wanted);
}

/* The command that renames the instance has left the name here.  The supervisor cannot write such a
 * file, so no guest can choose a name.  The name in the call tells which of two commands it is. */
static int answer_rename(struct warden *w, const struct line_message *asked, struct mvm_error *err)
{
	AUTO_FREE char *to = NULL;
	AUTO_CLOSE int parent_fd = open_parent(w);
	struct wire_field f;
	size_t len = 0;
	int dir_fd = w->given->fd[SUPERVISOR_FD_INSTANCE];
	if (w->record.purpose != RECORD_FOR_USER)
		return mvm_error_set(err, -EINVAL, "this VM is mvm's own");
	int r = file_read_at(dir_fd, INSTANCE_RENAME_NAME, INSTANCE_NAME_BYTES, &to, &len);
	if (r < 0)
		return mvm_error_set(err, r, "no command renames instance '%s': %s", w->record.name,
				     strerror(-r));
	if (wire_find(asked->fields.data, asked->fields.len, TAG_TEXT, &f) <= 0 || f.len != len ||
	    memcmp(f.data, to, len) != 0)
		return mvm_error_set(err, -EBUSY, "another command renames instance '%s'",
				     w->record.name);
	unlinkat(dir_fd, INSTANCE_RENAME_NAME, 0); /* what stays is replaced by the next */
	r = instance_folder_rename(parent_fd, dir_fd, &w->record, to, err);
	if (r == 0)
		events_renamed(w->given->fd[SUPERVISOR_FD_LOGS], &w->record);
	return r;
}

/* ---- questions ---- */

static_assert(WHY_KILLED_SIZE >= OOM_TEXT_SIZE, "oom_describe()'s text fits");
static_assert(WHY_KILLED_SIZE >= BUS_TEXT_SIZE, "bus_describe()'s text fits");

static void answer_why_killed(const struct warden *w, uint64_t signal, struct line_message *ret)
{
	char text[WHY_KILLED_SIZE] = "";
	if (signal == SIGKILL)
		oom_describe(&w->oom, w->record.cgroup, text);
	else if (signal == SIGBUS && w->record.restore)
		bus_describe(w->memory_dir_fd, text);
	wire_put_str(&ret->fields, TAG_TEXT, text);
}

static int do_it(struct warden *w, const struct line_message *asked, struct line_message *ret,
		 struct mvm_error *err)
{
	uint64_t number = 0;
	wire_find_u64(asked->fields.data, asked->fields.len, TAG_NUMBER, UINT64_MAX, &number);
	switch ((enum warden_question)asked->what) {
	case ASK_START:
		return vmm_answer_start(w, ret, err);
	case ASK_SEAL:
		return w->body && w->ops->seal ? w->ops->seal(w->body, err) : -ESRCH;
	case ASK_REAP:
		return vmm_answer_reap(w, ret);
	case ASK_OPEN_STATE:
		return vmm_answer_open_state(w, number, ret);
	case ASK_TAKE_BACK:
		if (w->body)
			w->ops->take_back(w->body);
		return 0;
	case ASK_KILL:
		if (w->body && w->body->process.pid > 0)
			kill(w->body->process.pid, SIGKILL); /* not reaped: still its pid */
		return 0;
	case ASK_FORGET_MEMORY:
		vmm_forget_memory(w);
		return 0;
	case ASK_WHY_KILLED:
		answer_why_killed(w, number, ret);
		return 0;
	case ASK_PUT_AWAY:
		vmm_put_away(w);
		return 0;
	case ASK_NEW_LOG:
		return answer_new_log(w, number, ret);
	case ASK_SAVE:
		answer_save(w, &asked->fields);
		return 0;
	case ASK_TELL:
		answer_tell(w, &asked->fields);
		return 0;
	case ASK_CONFINE:
		answer_confine(w, ret);
		return 0;
	case ASK_TOUCHED_BYTES:
		wire_put_u64(&ret->fields, TAG_NUMBER, vmm_touched_bytes(w));
		return 0;
	case ASK_CAPTURE_DISKS:
		return vmm_answer_capture_disks(w, err);
	case ASK_ADOPT:
		return answer_adopt(w, ret, err);
	case ASK_ADOPTED:
		answer_adopted(w);
		return 0;
	case ASK_GIVE_UP_ADOPTION:
		answer_give_up_adoption(w);
		return 0;
	case ASK_COPY:
		return copy_answer_start(w, number, ret, err);
	case ASK_COPIED:
		return copy_answer_end(w, number, ret);
	case ASK_RELEASE:
		answer_release(w);
		return 0;
	case ASK_STOP_LISTENING:
		unlinkat(w->given->fd[SUPERVISOR_FD_INSTANCE], INSTANCE_SOCKET_NAME, 0);
		return 0;
	case ASK_REMOVE:
		answer_remove(w);
		return 0;
	case ASK_START_NETWORK:
		return network_answer_start(w, ret, err);
	case ASK_SEAL_NETWORK:
		return w->body && w->ops->seal_network ? w->ops->seal_network(w->body, err)
						       : -ESRCH;
	case ASK_RULES:
		return network_answer_rules(w, asked, err);
	case ASK_RENAME:
		return answer_rename(w, asked, err);
	}
	return mvm_error_set(err, -EPROTO, "the warden does not know question %d", asked->what);
}

void warden_answer(struct warden *w, const struct line_message *asked, struct line_message *ret)
{
	struct mvm_error err = { 0 };
	if (asked->what >= (int32_t)ASK_BODY)
		ret->what = body_answer(w, asked, ret, &err);
	else if (asked->what >= (int32_t)ASK_SAVED)
		ret->what = saved_answer(w, asked, ret, &err);
	else
		ret->what = do_it(w, asked, ret, &err);
	if (ret->what >= 0)
		return;
	int code = err.code ? err.code : ret->what;
	line_message_done(ret);
	ret->what = code;
	wire_put_str(&ret->fields, TAG_TEXT, err.code ? err.text : strerror(-code));
	if (err.reason[0])
		wire_put_str(&ret->fields, TAG_REASON, err.reason);
}

int warden_init(struct warden *w, const struct supervisor_given *given, struct mvm_error *err)
{
	*w = (struct warden){
		.given = given,
		.theirs = { -1, -1 },
		.memory_dir_fd = -1,
		.saving = WARDEN_SAVING_NONE,
		.saved_dir_fd = -1,
	};
	int r = record_load(given->fd[SUPERVISOR_FD_INSTANCE], &w->record, err);
	if (r == 0)
		r = revision_load_at(given->fd[SUPERVISOR_FD_REVISION], &w->revision, err);
	w->ops = given->backend;
	return r < 0 || w->ops ? r : vmm_backend_find(w->record.backend, &w->ops, err);
}

void warden_done(struct warden *w)
{
	struct line_message unused = { 0 };
	if (w->theirs[0] >= 0 || w->body)
		vmm_put_away(w);
	copy_answer_end(w, true, &unused);
	line_message_done(&unused);
	copy_release(w);
	saved_done_with(w);
	vmm_probe_done(&w->probe);
	record_done(&w->record);
	record_done(&w->wanted);
	mvm_template_revision_done(&w->revision);
}
