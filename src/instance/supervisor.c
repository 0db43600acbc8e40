/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mvm-supervisor: owns one instance from its start to its end.
 *
 * It is started by whoever starts the instance, with everything it needs as open descriptors (the
 * enum below) and the rest in instance.json, so it looks nothing up by path.  It starts the VMM,
 * brings the guest up, answers on the leash, then serves control.sock until the VM has ended.
 * Nothing here polls; everything happens in one event loop.  Sequences that wait (a stop, a
 * capture) run from the main loop as jobs, one at a time, while the loop goes on serving streams.
 */
#include "instance/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "codec/sha256.h"
#include "instance/clients.h"
#include "instance/machine.h"
#include "instance/record.h"
#include "model/load.h"
#include "net/wire.h"

#define BOOT_DEADLINE_MS    INT64_C(120000) /* to the agent's greeting; TCG on a busy host is slow */
#define RESTORE_DEADLINE_MS INT64_C(30000)
#define CAPTURE_DEADLINE_MS INT64_C(120000)
#define STOP_DEFAULT_MS	    INT64_C(10000)
#define LAST_WORDS_MS	    1000

struct supervisor {
	struct loop *loop;
	struct record record;
	struct mvm_template_revision revision;
	struct machine machine;
	struct clients clients;
	struct loop_source *signal_source;
	int signal_fd;
	bool started; /* the guest is up; the leash has its answer */
	bool leash_gone;
	bool stopping;	     /* asked to end by a signal, or nobody holds the leash any more */
	bool stopped;	     /* ended because we wanted it to */
	struct job *waiting; /* STOP and WAIT calls, answered at the end */
};

static void kill_vmm(struct supervisor *s)
{
	if (s->machine.vmm && s->machine.vmm->process.pid > 0)
		(void)kill(s->machine.vmm->process.pid, SIGKILL); /* ours and not reaped yet */
}

static void on_leash_gone(void *arg)
{
	struct supervisor *s = arg;
	s->leash_gone = true;
	if (s->started && !s->record.attached)
		return; /* it runs on its own now */
	s->stopping = true;
	kill_vmm(s);
}

static void on_signal(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct signalfd_siginfo info;
	(void)events;

	if (read(s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	s->stopping = true;
	if (!s->started)
		kill_vmm(s);
}

static void on_agent_broken(void *arg)
{
	struct supervisor *s = arg;
	clients_guest_gone(&s->clients);
}

static void on_guest_frame(void *arg, const struct frame *f)
{
	struct supervisor *s = arg;
	clients_on_guest_frame(&s->clients, f);
}

static int watch_signals(struct supervisor *s)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return -errno;
	return loop_add_fd(s->loop, s->signal_fd, EPOLLIN, on_signal, s, &s->signal_source);
}

static void set_string(char **to, const char *text)
{
	free(*to);
	*to = strdup(text); /* without memory the record lacks a line, the VM lacks nothing */
}

static void set_time(char **to)
{
	char text[RFC3339_SIZE];
	clock_format(clock_wall_ns() / NS_PER_S, text);
	set_string(to, text);
}

/* The record is for those who look; a full disk must not end the VM. */
static void save_record(struct supervisor *s, enum record_state state)
{
	s->record.state = state;
	(void)record_save(SUPERVISOR_FD_INSTANCE, &s->record, NULL);
}

static int spawn_machine(struct supervisor *s, const struct vmm_ops *ops, int snapshot_fd,
			 int64_t deadline_ns, struct mvm_error *err)
{
	struct record *rec = &s->record;
	AUTO_DONE(vmm_probe) probe = { 0 };
	int r = vmm_backend_probe(ops, SUPERVISOR_FD_CACHE, &probe, err);
	if (r < 0)
		return r;
	if (!probe.usable)
		return mvm_error_set(err, -EOPNOTSUPP, "backend %s: %s", ops->name,
				     probe.reason ? probe.reason : "not usable here");

	enum vmm_memory memory = VMM_MEMORY_PRIVATE;
	if (rec->restore)
		memory = VMM_MEMORY_CLONE;
	else if (rec->purpose == RECORD_FOR_CAPTURE)
		memory = VMM_MEMORY_CAPTURE;
	struct vmm_config config = {
		.name = rec->name,
		.vcpus = rec->vcpus,
		.mem_mib = rec->mem_mib,
		.dir_fd = SUPERVISOR_FD_REVISION,
		.kernel = s->revision.artifact_paths.vmlinux,
		.initrd = s->revision.artifact_paths.initrd,
		.cmdline = rec->cmdline,
		.drives = { { .name = s->revision.artifact_paths.rootfs, .read_only = true } },
		.n_drives = 1,
		.network = s->revision.run.network != MVM_NETWORK_NONE,
		.forwards = rec->forwards,
		.n_forwards = rec->n_forwards,
		.memory = memory,
		.memory_dir_fd = rec->restore ? snapshot_fd : SUPERVISOR_FD_CAPTURE,
		.memory_name = "mem.bin",
		.log_fd = -1,
	};
	r = machine_spawn(&s->machine, s->loop, ops, &probe, &config, SUPERVISOR_FD_INSTANCE,
			  rec->log_max_bytes, deadline_ns, err);
	if (r < 0)
		return r;
	if (s->stopping)
		return mvm_error_set(err, -ECANCELED, "the start was interrupted");
	rec->vmm_pid = s->machine.vmm->process.pid;
	s->machine.agent.on_frame = on_guest_frame;
	s->machine.agent.on_broken = on_agent_broken;
	s->machine.agent.arg = s;
	return 0;
}

/* The nonce lived only in the snapshot's RAM: whoever knows it was restored from there. */
static int check_nonce(const struct supervisor *s, const uint8_t nonce[NONCE_BYTES],
		       struct mvm_error *err)
{
	const char *expected = mvm_snapshot_info_compat(&s->revision.snapshot, "nonce_sha256");
	struct mvm_digest digest;
	char hex[65];

	sha256_buf(nonce, NONCE_BYTES, &digest);
	digest_hex(&digest, hex);
	if (!str_eq(expected, hex))
		return mvm_error_set(err, -EBADMSG,
				     "the restored guest does not know the snapshot's nonce");
	return 0;
}

static int start_restore(struct supervisor *s, const struct vmm_ops *ops, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(RESTORE_DEADLINE_MS);
	uint8_t nonce[NONCE_BYTES];
	AUTO_CLOSE int snapshot_fd = dir_open_at(SUPERVISOR_FD_REVISION, "snapshot");

	if (snapshot_fd < 0)
		return mvm_error_set(err, snapshot_fd, "cannot open the snapshot: %s",
				     strerror(-snapshot_fd));
	int r = spawn_machine(s, ops, snapshot_fd, deadline_ns, err);
	if (r == 0)
		r = machine_restore(&s->machine, &s->revision.run, snapshot_fd, deadline_ns, nonce,
				    err);
	return r < 0 ? r : check_nonce(s, nonce, err);
}

static int start_boot(struct supervisor *s, const struct vmm_ops *ops, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(BOOT_DEADLINE_MS);
	int r = spawn_machine(s, ops, -1, deadline_ns, err);
	return r < 0 ? r : machine_boot(&s->machine, &s->revision.run, deadline_ns, err);
}

static void note_start(struct supervisor *s)
{
	struct record *rec = &s->record;
	set_string(&rec->hostname, s->machine.hostname);
	set_string(&rec->machine_id, s->machine.machine_id);
	set_time(&rec->started_at);
	for (size_t i = 0; i < s->machine.n_stages && rec->n_stages < RECORD_STAGES_MAX; i++) {
		struct record_stage *to = &rec->stages[rec->n_stages++];
		(void)snprintf(to->name, sizeof(to->name), "%s", s->machine.stages[i].name);
		to->ns = s->machine.stages[i].ns;
	}
}

static int start(struct supervisor *s, struct mvm_error *err)
{
	const struct vmm_ops *ops;
	int r = vmm_backend_find(s->record.backend, &ops, err);
	if (r == 0)
		r = s->record.restore ? start_restore(s, ops, err) : start_boot(s, ops, err);
	if (r == 0) {
		int fd = sock_listen_at(SUPERVISOR_FD_INSTANCE, "control.sock");
		r = fd < 0 ? fd : clients_listen(&s->clients, fd);
		if (r < 0)
			r = mvm_error_set(err, r, "cannot listen on control.sock: %s",
					  strerror(-r));
	}
	if (r == 0 && s->leash_gone)
		r = mvm_error_set(err, -ECANCELED, "the start was interrupted");
	return r;
}

static void answer_start(struct supervisor *s, int status, const char *message)
{
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_FREE char *json = record_to_json(&s->record);
	wire_put_str(&fields, FIELD_JSON, json);
	clients_reply(&s->clients, s->clients.leash_id, LEASH_START_STREAM, status, message,
		      &fields);
}

static void answer(struct supervisor *s, const struct job *j, int code, const struct mvm_error *err,
		   const struct strbuf *fields)
{
	clients_reply(&s->clients, j->client_id, j->stream, -code, code < 0 ? err->text : NULL,
		      fields);
}

static void stop_guest(struct supervisor *s, int64_t timeout_ms)
{
	s->stopped = true;
	machine_shutdown(&s->machine, clock_deadline_ns(timeout_ms));
	if (!s->machine.ended)
		kill_vmm(s);
}

static void wait_for_end(struct supervisor *s, struct job *j)
{
	j->next = s->waiting;
	s->waiting = j;
}

static int do_capture(struct supervisor *s, struct strbuf *fields, struct mvm_error *err)
{
	uint8_t nonce[NONCE_BYTES];
	if (s->record.purpose != RECORD_FOR_CAPTURE)
		return mvm_error_set(err, -EOPNOTSUPP, "this VM was not started to be captured");
	int r = machine_capture(&s->machine, SUPERVISOR_FD_CAPTURE,
				clock_deadline_ns(CAPTURE_DEADLINE_MS), nonce, err);
	if (r == 0)
		wire_put_bytes(fields, FIELD_NONCE, nonce, sizeof(nonce));
	return r;
}

static int do_pause(struct supervisor *s, bool pause, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(STOP_DEFAULT_MS);
	int r = pause ? vmm_pause(s->machine.vmm, deadline_ns, err)
		      : vmm_resume(s->machine.vmm, deadline_ns, err);
	if (r == 0) {
		s->clients.guest_paused = pause;
		save_record(s, pause ? RECORD_PAUSED : RECORD_RUNNING);
	}
	return r;
}

static int64_t timeout_of(const struct job *j)
{
	struct wire_field field;
	uint64_t ms;
	if (wire_find(j->args.data, j->args.len, FIELD_TIMEOUT_MS, &field) > 0 &&
	    wire_get_u64(&field, &ms) == 0 && ms <= 3600000)
		return (int64_t)ms;
	return STOP_DEFAULT_MS;
}

static void run_job(struct supervisor *s, struct job *taken)
{
	AUTO(job) j = taken;
	AUTO_DONE(strbuf) fields = { 0 };
	struct mvm_error err = { 0 };
	int r = 0;

	switch (j->call) {
	case CALL_INSPECT: {
		AUTO_FREE char *json = record_to_json(&s->record);
		wire_put_str(&fields, FIELD_JSON, json);
		break;
	}
	case CALL_PAUSE:
	case CALL_RESUME:
		r = do_pause(s, j->call == CALL_PAUSE, &err);
		break;
	case CALL_CAPTURE:
		r = do_capture(s, &fields, &err);
		break;
	case CALL_STOP: {
		int64_t timeout_ms = timeout_of(j);
		wait_for_end(s, TAKE_PTR(j));
		stop_guest(s, timeout_ms);
		return;
	}
	default: /* CALL_WAIT: the queue takes no other */
		wait_for_end(s, TAKE_PTR(j));
		return;
	}
	answer(s, j, r, &err, &fields);
}

static int serve(struct supervisor *s)
{
	while (!s->machine.ended) {
		struct job *j = clients_next_job(&s->clients);
		if (j) {
			run_job(s, j);
			continue;
		}
		if (s->stopping) {
			s->stopping = false;
			stop_guest(s, STOP_DEFAULT_MS);
			continue;
		}
		int r = loop_run_once(s->loop, DEADLINE_NONE);
		if (r < 0)
			return r;
	}
	return 0;
}

static void note_end(struct supervisor *s)
{
	int status = s->machine.exit_status;
	bool clean = s->stopped || (WIFEXITED(status) && WEXITSTATUS(status) == 0);

	set_time(&s->record.ended_at);
	if (!clean) {
		char text[64];
		if (WIFSIGNALED(status))
			(void)snprintf(text, sizeof(text), "the VMM was killed by signal %d",
				       WTERMSIG(status));
		else
			(void)snprintf(text, sizeof(text), "the VMM ended with status %d",
				       WEXITSTATUS(status));
		set_string(&s->record.error, text);
	}
	s->record.vmm_pid = 0;
	save_record(s, clean ? RECORD_EXITED : RECORD_FAILED);
}

/* Tell everybody who waits, and let them take their last bytes. */
static void say_goodbye(struct supervisor *s)
{
	clients_guest_gone(&s->clients);
	for (struct job *j; (j = clients_next_job(&s->clients));)
		wait_for_end(s, j);
	while (s->waiting) {
		AUTO(job) j = s->waiting;
		s->waiting = j->next;
		answer(s, j, 0, NULL, NULL);
	}
	int64_t deadline_ns = clock_deadline_ns(LAST_WORDS_MS);
	while (clients_want_write(&s->clients) && loop_run_once(s->loop, deadline_ns) == 0)
		;
}

/* An attached instance leaves nothing behind, whatever became of the one who started it. */
static void remove_instance(const struct supervisor *s)
{
	AUTO_CLOSE int parent_fd = openat(SUPERVISOR_FD_INSTANCE, "..",
					  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent_fd >= 0)
		(void)tree_remove_at(parent_fd, s->record.name); /* `rm` takes what stays */
}

static int run(struct supervisor *s)
{
	struct mvm_error err = { 0 };
	int r = start(s, &err);
	if (r < 0) {
		set_string(&s->record.error, err.text);
		machine_free(&s->machine);
		s->record.vmm_pid = 0;
		save_record(s, RECORD_FAILED);
		if (s->leash_gone)
			remove_instance(s); /* the starter would have done it */
		answer_start(s, -r, err.text);
		say_goodbye(s);
		return 1;
	}
	s->started = true;
	note_start(s);
	save_record(s, RECORD_RUNNING);
	answer_start(s, 0, NULL);
	r = serve(s);
	machine_shutdown(&s->machine, 0);
	note_end(s);
	machine_free(&s->machine);
	(void)unlinkat(SUPERVISOR_FD_INSTANCE, "control.sock", 0);
	if (s->record.attached)
		remove_instance(s);
	say_goodbye(s);
	return r < 0;
}

static int prepare(struct supervisor *s, struct mvm_error *err)
{
	/* inherited, so not close-on-exec yet; the VMM gets none of them unless it is named */
	for (int fd = SUPERVISOR_FD_FIRST; fd < SUPERVISOR_FD_END; fd++) {
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return mvm_error_set(err, -errno, "descriptor %d is missing", fd);
	}
	int r = loop_new(&s->loop);
	if (r == 0)
		r = clients_init(&s->clients, s->loop, &s->machine.agent);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	s->clients.on_leash_gone = on_leash_gone;
	s->clients.arg = s;
	r = watch_signals(s);
	if (r == 0)
		r = clients_add_leash(&s->clients, SUPERVISOR_FD_LEASH);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start: %s", strerror(-r));
	r = record_load(SUPERVISOR_FD_INSTANCE, &s->record, err);
	if (r < 0)
		return r;
	s->record.supervisor_pid = getpid();
	return revision_load_at(SUPERVISOR_FD_REVISION, &s->revision, err);
}

int main(void)
{
	struct supervisor s = { .signal_fd = -1 };
	struct mvm_error err = { 0 };

	(void)umask(077);
	int r = prepare(&s, &err);
	if (r < 0) {
		(void)fprintf(stderr, "mvm-supervisor: %s\n", err.text);
		if (s.clients.leash_id)
			answer_start(&s, -r, err.text);
	}
	int status = r < 0 ? 1 : run(&s);

	clients_done(&s.clients);
	loop_source_free(s.signal_source);
	if (s.signal_fd >= 0)
		(void)close(s.signal_fd);
	mvm_template_revision_done(&s.revision);
	record_done(&s.record);
	loop_free(s.loop);
	return status;
}
