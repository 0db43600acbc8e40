/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "codec/sha256.h"
#include "instance/events.h"
#include "instance/instance.h"
#include "store/revision.h"
#include "supervisor_world.h"

#define DEADLINE_MS  100000 /* of each wait, in case the supervisor hangs */
#define ENDED_STATUS 50	    /* plus the result of supervise(); a sanitizer uses other statuses */

static const uint8_t nonce[NONCE_BYTES] = "only in the snapshot's memory";

static char *text(const char *s)
{
	char *copy = strdup(s);
	assert_non_null(copy);
	return copy;
}

int world_setup(void **state)
{
	struct world *x = calloc(1, sizeof(*x));
	struct mvm_digest digest;
	char hex[65];
	if (!x)
		return -1;
	snprintf(x->dir, sizeof(x->dir), "/tmp/mvm-unit-XXXXXX");
	assert_non_null(mkdtemp(x->dir));
	AUTO_CLOSE int dir_fd = dir_open_at(AT_FDCWD, x->dir);
	x->instances_fd = dir_make_at(dir_fd, "instances");
	x->logs_fd = dir_make_at(dir_fd, "logs");
	assert_true(x->instances_fd >= 0 && x->logs_fd >= 0);
	x->folder = (struct instance_folder)INSTANCE_FOLDER_NONE;
	x->boot_ms = x->boot_max_ms = 120000;
	x->freeze_ms = 20000;
	x->suspend_again_ms = 10000;
	x->restart_pause_ms = 1;
	x->record = (struct record){
		.name = text("web-1"),
		.template_id = text("web"),
		.revision = text("00112233445566778899aabbccddeeff"),
		.backend = text("scripted"),
		.backend_version = text("1"),
		.accelerator = text("tcg"),
		.cmdline = text(""),
		.created_at = text("2026-01-31T12:00:00Z"),
		.vcpus = 1,
		.mem_mib = 128,
		.memory = RECORD_MEMORY_OWN,
	};
	x->revision_fd = dir_make_at(dir_fd, x->record.revision);
	assert_true(x->revision_fd >= 0);
	sha256_buf(nonce, sizeof(nonce), &digest);
	digest_hex(&digest, hex);
	char **compat = calloc(3, sizeof(*compat));
	assert_non_null(compat);
	compat[0] = text("version=1");
	compat[1] = text("accelerator=tcg");
	compat[2] = str_printf("nonce_sha256=%s", hex);
	x->revision = (struct mvm_template_revision){
		.schema_version = MVM_SCHEMA_VERSION,
		.revision_hash = text(x->record.revision),
		.flake_ref = text("dir:/"),
		.flake_lock_hash = text("lock"),
		.artifact_paths = { .vmlinux = text("vmlinux"),
				    .rootfs = text("rootfs.ext4"),
				    .fc_base_config = text("fc-base.json") },
		.built_at = 1,
		.profile = text("minimal"),
		.role = text("worker"),
		.vcpus = 1,
		.mem_mib = 128,
		.run = { .network = MVM_NETWORK_NONE },
		.has_snapshot = true,
		.snapshot = { .created_at = 1,
			      .boot_args = text(""),
			      .vcpus = 1,
			      .mem_mib = 128,
			      .compat = { .v = compat, .n = 3 } },
	};
	*state = x;
	return 0;
}

int world_teardown(void **state)
{
	struct world *x = *state;
	if (x->supervisor > 0) { /* the test has failed */
		kill(x->supervisor, SIGKILL);
		waitpid(x->supervisor, NULL, 0);
	}
	control_done(&x->leash);
	channel_done(&x->guest);
	if (x->guest.fd > 0)
		close(x->guest.fd);
	if (x->steps_fd > 0)
		close(x->steps_fd);
	instance_folder_done(&x->folder);
	close(x->instances_fd);
	close(x->revision_fd);
	close(x->logs_fd);
	record_done(&x->record);
	mvm_template_revision_done(&x->revision);
	int r = tree_remove_at(AT_FDCWD, x->dir);
	free(x);
	return r;
}

static void write_revision(struct world *x)
{
	AUTO_FREE char *json = NULL;
	assert_int_equal(mvm_template_revision_format(&x->revision, &json, NULL), 0);
	assert_int_equal(file_create_at(x->revision_fd, "revision.json", json, strlen(json), 0600),
			 0);
	AUTO_CLOSE int snapshot_fd = dir_make_at(x->revision_fd, "snapshot");
	assert_true(snapshot_fd >= 0);
	assert_int_equal(file_create_at(snapshot_fd, "mem.bin", "", 0, 0600), 0);
	assert_int_equal(file_create_at(snapshot_fd, "vmstate.bin", "", 0, 0600), 0);
	assert_int_equal(store_checksums_write(x->revision_fd, "web", "rev", NULL, 0, NULL, NULL),
			 0);
}

/* Runs in the child.  It closes the test's descriptors, so that a hang-up is noticed. */
static _Noreturn void run_supervisor(struct world *x, int leash_fd, int steps_fd)
{
	struct supervisor_given given = {
		.fd = { [SUPERVISOR_FD_LEASH] = leash_fd,
			[SUPERVISOR_FD_INSTANCE] = x->folder.dir_fd,
			[SUPERVISOR_FD_LOCK] = x->folder.lock_fd,
			[SUPERVISOR_FD_REVISION] = x->revision_fd,
			[SUPERVISOR_FD_LEASE] = open("/dev/null", O_RDWR),
			[SUPERVISOR_FD_CACHE] = open("/dev/null", O_RDWR),
			[SUPERVISOR_FD_CAPTURE] = open("/dev/null", O_RDWR),
			[SUPERVISOR_FD_LOGS] = x->logs_fd,
			[SUPERVISOR_FD_LISTEN] = x->folder.listen_fd },
		.backend = &scripted_vmm,
		.boot_ms = x->boot_ms,
		.boot_max_ms = x->boot_max_ms,
		.restart_pause_ms = x->restart_pause_ms,
		.freeze_ms = x->freeze_ms,
		.suspend_again_ms = x->suspend_again_ms,
		.health_interval_min_ms = 1,
		.strict = true,
	};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("MVM_CGROUP", "/nonexistent", true);
	scripted_vmm_fd = steps_fd;
	exit(ENDED_STATUS + supervise(&given));
}

void launch(struct world *x)
{
	int leash[2], steps[2];
	write_revision(x);
	assert_int_equal(instance_folder_make(x->instances_fd, &x->record, &x->folder), 0);
	if (x->fill_folder)
		x->fill_folder(x);
	assert_int_equal(sock_pair(leash), 0);
	assert_int_equal(sock_pair(steps), 0);
	fflush(NULL);
	x->supervisor = fork();
	assert_true(x->supervisor >= 0);
	if (x->supervisor == 0) {
		signal(SIGBUS, SIG_DFL); /* cmocka catches it; a VMM may die of it */
		close(leash[0]);
		close(steps[0]);
		run_supervisor(x, leash[1], steps[1]);
	}
	close(leash[1]);
	close(steps[1]);
	auto_close(&x->folder.lock_fd);
	auto_close(&x->folder.listen_fd);
	x->folder.lock_fd = x->folder.listen_fd = -1;
	assert_int_equal(control_init(&x->leash, leash[0]), 0);
	x->steps_fd = steps[0];
}

static void await(int fd, const char *what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (poll(&p, 1, DEADLINE_MS) <= 0)
		fail_msg("%s: the supervisor does nothing", what);
}

void expect_step(struct world *x, enum vmm_step letter)
{
	char c = 0;
	await(x->steps_fd, "the next step");
	assert_int_equal(read(x->steps_fd, &c, 1), 1);
	if (c != (char)letter)
		fail_msg("the supervisor has come to step '%c' and not to '%c'", c, letter);
}

static void answer_step(struct world *x, enum vmm_step letter)
{
	char c = (char)letter;
	assert_int_equal(file_write_all(x->steps_fd, &c, 1), 0);
}

void go_on(struct world *x)
{
	answer_step(x, VMM_STEP_DONE);
}

void fail_step(struct world *x)
{
	answer_step(x, VMM_STEP_FAIL);
}

static void close_guest(struct world *x)
{
	channel_done(&x->guest);
	if (x->guest.fd > 0)
		close(x->guest.fd);
	x->guest = (struct channel){ 0 };
}

void expect_spawn(struct world *x)
{
	close_guest(x);
	await(x->steps_fd, "a VMM");
	x->guest.fd = sock_receive_fd(x->steps_fd);
	assert_true(x->guest.fd > 0);
	assert_int_equal(fcntl(x->guest.fd, F_SETFL, O_NONBLOCK), 0);
	await(x->steps_fd, "the VMM's pid");
	assert_int_equal(read(x->steps_fd, &x->vmm, sizeof(x->vmm)), sizeof(x->vmm));
}

void say_hello(struct world *x)
{
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_u64(&fields, FIELD_PROTOCOL, AGENT_PROTOCOL);
	say(x, FRAME_HELLO, 0, &fields);
}

void boot_guest(struct world *x)
{
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_BOOT);
	go_on(x);
	say_hello(x);
	answer_call(x, expect_call(x, CALL_CONFIGURE), 0, NULL);
	if (x->revision.run.health.kind != MVM_HEALTH_AGENT)
		answer_call(x, expect_call(x, CALL_HEALTH), 0, NULL);
}

void boot_again(struct world *x)
{
	AUTO_DONE(record) r = { 0 };
	boot_guest(x);
	inspect(x, &r);
	assert_int_equal(r.state, RECORD_RUNNING);
}

int start_status(struct world *x, struct mvm_error *err)
{
	return wait_reply(&x->leash, LEASH_START_STREAM, err);
}

void start_up(struct world *x)
{
	struct mvm_error err = { 0 };
	launch(x);
	boot_guest(x);
	if (start_status(x, &err) < 0)
		fail_msg("%s", err.text);
}

void load_clone(struct world *x)
{
	x->record.restore = true;
	x->record.memory = RECORD_MEMORY_SHARED;
	launch(x);
	expect_spawn(x);
	go_on(x);
	expect_step(x, VMM_STEP_RESTORE);
}

void start_clone(struct world *x)
{
	struct mvm_error err = { 0 };
	load_clone(x);
	go_on(x);
	answer_nonce(x, expect_call(x, CALL_RESTORED));
	if (start_status(x, &err) < 0)
		fail_msg("%s", err.text);
}

void freeze_clone(struct world *x)
{
	answer_nonce(x, expect_call(x, CALL_FREEZE));
	expect_step(x, VMM_STEP_PAUSE);
	go_on(x);
	expect_step(x, VMM_STEP_SAVE);
}

void stand_by(struct world *x)
{
	struct mvm_error err = { 0 };
	x->record.attached = true;
	x->record.purpose = RECORD_FOR_POOL;
	load_clone(x);
	go_on(x);
	answer_nonce(x, expect_call(x, CALL_REHEARSE));
	expect_step(x, VMM_STEP_PAUSE);
	go_on(x);
	if (start_status(x, &err) < 0)
		fail_msg("%s", err.text);
}

void kill_guest(struct world *x)
{
	assert_int_equal(kill(x->vmm, SIGKILL), 0);
}

void power_off(struct world *x)
{
	close_guest(x);
}

static void await_hangup(struct world *x, const char *what)
{
	struct frame f;
	int r;
	while ((r = channel_receive(&x->guest, &f)) >= 0) {
		if (r == 0)
			await(x->guest.fd, what);
	}
}

void hang_up_agent(struct world *x)
{
	assert_int_equal(shutdown(x->guest.fd, SHUT_WR), 0);
	await_hangup(x, "the agent's channel");
}

void expect_killed(struct world *x)
{
	await_hangup(x, "the VMM's end");
	close_guest(x);
}

uint32_t expect_call(struct world *x, unsigned call)
{
	struct wire_field field;
	struct frame f;
	for (;;) {
		uint64_t got;
		int r = channel_receive(&x->guest, &f);
		if (r == 0)
			await(x->guest.fd, "a call for the agent");
		else if (r < 0)
			fail_msg("the agent's channel has ended, waiting for call %u", call);
		if (r <= 0 || f.type != FRAME_CALL)
			continue;
		assert_int_equal(wire_find(f.payload, f.len, FIELD_CALL, &field), 1);
		assert_int_equal(wire_get_u64(&field, &got), 0);
		if (got == call)
			return f.stream;
		if (got != CALL_CLOCK)
			fail_msg("the agent got call %u and not %u", (unsigned)got, call);
		answer_call(x, f.stream, 0, NULL);
	}
}

void say(struct world *x, uint8_t type, uint32_t stream, const struct strbuf *fields)
{
	int r = channel_send(&x->guest, type, stream, fields->data, fields->len);
	assert_int_equal(r, 0);
}

void answer_call(struct world *x, uint32_t stream, int status, const char *message)
{
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_u64(&fields, FIELD_STATUS, (uint64_t)status);
	wire_put_str(&fields, FIELD_MESSAGE, message);
	say(x, FRAME_REPLY, stream, &fields);
}

void answer_nonce(struct world *x, uint32_t stream)
{
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_u64(&fields, FIELD_STATUS, 0);
	wire_put_bytes(&fields, FIELD_NONCE, nonce, sizeof(nonce));
	say(x, FRAME_REPLY, stream, &fields);
}

void shut_down(struct world *x)
{
	answer_call(x, expect_call(x, CALL_SHUTDOWN), 0, NULL);
	power_off(x);
}

void connect_client(struct world *x, struct control *ret)
{
	int fd = sock_connect_at(x->folder.dir_fd, INSTANCE_SOCKET_NAME);
	assert_true(fd >= 0);
	assert_int_equal(control_init(ret, fd), 0);
}

int ask(struct control *c, unsigned call, struct mvm_error *err)
{
	return wait_reply(c, begin_call(c, call), err);
}

static uint32_t begin(struct control *c, unsigned call, const struct strbuf *args)
{
	uint32_t stream;
	assert_int_equal(control_send_call(c, call, args, &stream, NULL), 0);
	return stream;
}

uint32_t begin_call(struct control *c, unsigned call)
{
	return begin(c, call, NULL);
}

uint32_t begin_stop(struct control *c, uint64_t timeout_ms)
{
	AUTO_DONE(strbuf) args = { 0 };
	wire_put_u64(&args, FIELD_TIMEOUT_MS, timeout_ms);
	return begin(c, CALL_STOP, &args);
}

int wait_reply(struct control *c, uint32_t stream, struct mvm_error *err)
{
	int r = control_wait_reply(c, stream, NULL, clock_deadline_ns(DEADLINE_MS), NULL, err);
	if (r == -ETIMEDOUT)
		fail_msg("the supervisor does not answer");
	return r;
}

uint32_t begin_adopt(struct world *x, struct control *c, const char *name)
{
	AUTO_DONE(strbuf) args = { 0 };
	uint32_t stream;
	enum record_purpose purpose = x->record.purpose;
	char *was = x->record.name;
	x->record.name = strdup(name);
	x->record.purpose = RECORD_FOR_USER;
	x->record.attached = false;
	AUTO_FREE char *json = record_to_json(&x->record);
	free(x->record.name);
	x->record.name = was;
	x->record.purpose = purpose;
	wire_put_str(&args, FIELD_JSON, json);
	wire_put_str(&args, FIELD_NONCE_SHA256,
		     mvm_snapshot_info_compat(&x->revision.snapshot, "nonce_sha256"));
	connect_client(x, c);
	assert_int_equal(file_replace_unsynced_at(x->folder.dir_fd, INSTANCE_WANTED_NAME, json,
						  strlen(json), 0600),
			 0);
	assert_int_equal(control_send_call(c, CALL_ADOPT, &args, &stream, NULL), 0);
	return stream;
}

void add_volume(struct world *x)
{
	AUTO_FREE char *host = str_printf("%s/volume", x->dir);
	assert_int_equal(mkdir(host, 0755), 0);
	x->record.volumes[0] = (struct record_volume){
		.host = realpath(host, NULL),
		.guest = strdup("/data"),
		.write_back = true,
	};
	x->record.n_volumes = 1;
}

void take_volume(struct world *x)
{
	AUTO_DONE(strbuf) end = { 0 };
	uint32_t put = expect_call(x, CALL_PUT);
	answer_call(x, put, 0, NULL);
	wire_put_u64(&end, FIELD_EXIT_CODE, 0);
	say(x, FRAME_END, put, &end);
}

void end_workload(struct world *x, uint64_t exit_code)
{
	AUTO_DONE(strbuf) fields = { 0 };
	uint32_t call = expect_call(x, CALL_AWAIT);
	wire_put_u64(&fields, FIELD_STATUS, 0);
	wire_put_u64(&fields, FIELD_EXIT_CODE, exit_code);
	say(x, FRAME_REPLY, call, &fields);
}

void set_command(struct world *x)
{
	x->revision.run.command.v = calloc(1, sizeof(char *));
	assert_non_null(x->revision.run.command.v);
	x->revision.run.command.v[0] = strdup("/bin/true");
	x->revision.run.command.n = 1;
}

void inspect(struct world *x, struct record *ret)
{
	AUTO_DONE(strbuf) reply = { 0 };
	struct wire_field json;
	struct mvm_error err = { 0 };
	struct control c;
	connect_client(x, &c);
	int r = control_call(&c, CALL_INSPECT, NULL, NULL, clock_deadline_ns(DEADLINE_MS), &reply,
			     &err);
	control_done(&c);
	if (r == 0 && wire_find(reply.data, reply.len, FIELD_JSON, &json) > 0)
		r = record_parse((const char *)json.data, json.len, ret, &err);
	if (r < 0)
		fail_msg("INSPECT: %s", err.text);
}

void expect_end(struct world *x, int status)
{
	int got = 0;
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, x->supervisor, 0);
	await(pidfd, "the supervisor's end");
	assert_int_equal(waitpid(x->supervisor, &got, 0), x->supervisor);
	x->supervisor = 0;
	if (!WIFEXITED(got) || WEXITSTATUS(got) != ENDED_STATUS + status)
		fail_msg("the supervisor has ended with wait status 0x%x", (unsigned)got);
}

void load_record(struct world *x, struct record *ret)
{
	struct mvm_error err = { 0 };
	if (record_load(x->folder.dir_fd, ret, &err) < 0)
		fail_msg("%s", err.text);
}

bool has_folder(struct world *x, const char *name)
{
	return faccessat(x->instances_fd, name, F_OK, 0) == 0;
}

unsigned events(struct world *x, const char *event, const char *message)
{
	AUTO_FREE char *all = NULL;
	char key[64];
	unsigned n = 0;
	if (file_read_at(x->logs_fd, EVENTS_NAME, 1u << 20, &all, NULL) < 0)
		return 0;
	snprintf(key, sizeof(key), "\"event\":\"%s\"", event);
	for (char *line = strtok(all, "\n"); line; line = strtok(NULL, "\n"))
		n += strstr(line, key) && (!message || strstr(line, message));
	return n;
}

void pause_vm(struct world *x, struct control *c)
{
	uint32_t call = begin_call(c, CALL_PAUSE);
	expect_step(x, VMM_STEP_PAUSE);
	go_on(x);
	assert_int_equal(wait_reply(c, call, NULL), 0);
}

void stop_vm(struct world *x, struct control *c)
{
	uint32_t call = begin_stop(c, 10000);
	shut_down(x);
	assert_int_equal(wait_reply(c, call, NULL), 0);
	control_done(c);
	expect_end(x, 0);
}

void expect_state(struct world *x, enum record_state state)
{
	AUTO_DONE(record) r = { 0 };
	inspect(x, &r);
	assert_string_equal(record_state_name(r.state), record_state_name(state));
}
