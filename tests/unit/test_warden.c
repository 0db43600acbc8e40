/* SPDX-License-Identifier: Apache-2.0 */
/* What a supervisor that a guest has taken over may ask of its warden, and what it gets. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/file.h"
#include "base/sock.h"
#include "instance/events.h"
#include "instance/instance.h"
#include "instance/saved.h"
#include "supervisor/warden_ask.h"
#include "supervisor_world.h"
#include "warden_cell.h"

static void a_supervisor_changes_how_its_vm_is_and_nothing_else(void **state)
{
	struct cell *c = *state;
	AUTO_DONE(record) evil = { 0 };
	AUTO_DONE(record) saved = { 0 };
	copy_record(&c->world->record, &evil);
	free(evil.name);
	free(evil.volumes[0].host);
	evil.name = strdup("other");
	evil.volumes[0].host = strdup("/root/.ssh");
	evil.vmm_pid = 1;
	evil.supervisor_pid = 1;
	evil.cgroup = strdup("/sys/fs/cgroup");
	evil.held = true;
	evil.restart = RECORD_RESTART_ALWAYS;
	evil.state = RECORD_RUNNING;
	evil.error = strdup("so it goes");
	evil.n_stages = 1;
	evil.stages[0] = (struct record_stage){ "spawn", 7 };
	warden_save(&c->link, &evil);
	load_record(c->world, &saved);
	assert_string_equal(saved.name, "web-1");
	assert_string_equal(saved.volumes[0].host, "/srv/data");
	assert_int_equal(saved.vmm_pid, 0);
	assert_int_equal(saved.supervisor_pid, 0);
	assert_null(saved.cgroup);
	assert_false(saved.held);
	assert_int_equal(saved.restart, RECORD_RESTART_NO);
	assert_int_equal(saved.state, RECORD_RUNNING);
	assert_string_equal(saved.error, "so it goes");
	assert_int_equal(saved.n_stages, 1);
	assert_int_equal(saved.stages[0].ns, 7);
}

static void a_record_that_makes_no_sense_changes_nothing(void **state)
{
	struct cell *c = *state;
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_FREE char *longest = calloc(1, RECORD_TEXT_MAX + 2);
	const struct record *rec = &c->warden.record;
	assert_non_null(longest);
	memset(longest, 'x', RECORD_TEXT_MAX + 1);
	wire_put_u64(&fields, TAG_RECORD_NUMBERS + NUMBER_STATE, 77);
	wire_put_u64(&fields, TAG_RECORD_NUMBERS + NUMBER_HEALTH, UINT64_MAX);
	wire_put_u64(&fields, TAG_RECORD_NUMBERS + RECORD_NUMBERS, 1);
	wire_put_str(&fields, TAG_RECORD_NUMBERS + NUMBER_HELD, "yes");
	wire_put_str(&fields, TAG_RECORD_TEXTS, longest);
	wire_put_bytes(&fields, TAG_RECORD_TEXTS + 1, "a\0b", 3);
	wire_put_str(&fields, TAG_RECORD_TEXTS + MVM_ARRAY_SIZE(record_texts), "beyond");
	wire_put_u64(&fields, TAG_STAGE_NS, 1); /* of no stage */
	wire_put_str(&fields, TAG_STAGE, "a name that is longer than any stage's");
	for (unsigned i = 0; i < RECORD_STAGES_MAX + 2; i++)
		wire_put_str(&fields, TAG_STAGE, "stage");
	strbuf_add(&fields, "\xff\xff\xff\xff\xff\xff", 6); /* a field beyond the end */
	assert_int_equal(put(c, ASK_SAVE, &fields), 0);
	assert_int_equal(rec->state, RECORD_STARTING);
	assert_int_equal(rec->health, RECORD_HEALTH_NONE);
	assert_false(rec->held);
	assert_null(rec->error);
	assert_null(rec->hostname);
	assert_int_equal(rec->n_stages, RECORD_STAGES_MAX);
	assert_string_equal(rec->name, "web-1");
}

static void without_a_vmm_there_is_nothing_to_ask_for(void **state)
{
	struct cell *c = *state;
	assert_int_equal(put(c, ASK_SEAL, NULL), -ESRCH);
	assert_int_equal(put(c, ASK_REAP, NULL), -ESRCH);
	assert_int_equal(put(c, ASK_KILL, NULL), 0);
	assert_int_equal(put(c, ASK_TAKE_BACK, NULL), 0);
	assert_int_equal(put_number(c, ASK_COPIED, 1), -ESRCH);
	assert_int_equal(put_number(c, ASK_OPEN_STATE, 0), -EPERM);
	assert_int_equal(put_number(c, ASK_OPEN_STATE, 1), -EPERM);
	assert_int_equal(put(c, ASK_CAPTURE_DISKS, NULL), -EPERM);
	assert_int_equal(put_number(c, ASK_NEW_LOG, WARDEN_LOGS), -EINVAL);
	assert_int_equal(put(c, 0, NULL), -EPROTO);
	assert_int_equal(put(c, ASK_REMOVE + 1, NULL), -EPROTO);
	assert_int_equal(put(c, -1, NULL), -EPROTO);
}

static void events_are_bounded(void **state)
{
	struct cell *c = *state;
	for (int i = 0; i < 500; i++)
		warden_tell(&c->link, "paused", "again");
	warden_tell(&c->link, "an event whose name is longer than any", NULL);
	unsigned n = events(c->world, "paused", "again");
	assert_in_range(n, 30, 300); /* a slow host earns more */
	assert_int_equal(events(c->world, "an event", NULL), 0);
}

static void only_known_events_of_bounded_length_are_told(void **state)
{
	struct cell *c = *state;
	AUTO_FREE char *longest = calloc(1, RECORD_TEXT_MAX + 1);
	struct stat st;
	assert_non_null(longest);
	memset(longest, 1, RECORD_TEXT_MAX);
	warden_tell(&c->link, "\033[2J", NULL);
	warden_tell(&c->link, "removed", NULL);
	assert_int_equal(events(c->world, "removed", NULL), 0);
	assert_int_equal(fstatat(c->world->logs_fd, EVENTS_NAME, &st, 0), -1);
	for (int i = 0; i < 500; i++)
		warden_tell(&c->link, "paused", longest);
	assert_int_equal(fstatat(c->world->logs_fd, EVENTS_NAME, &st, 0), 0);
	assert_in_range(st.st_size, 2 * EVENTS_TEXT_MAX, 64 * EVENTS_TEXT_MAX);
	assert_true(events(c->world, "paused", "????") > 0); /* lines that can be read */
}

static void a_record_stays_readable(void **state)
{
	struct cell *c = *state;
	AUTO_DONE(strbuf) fields = { 0 };
	AUTO_DONE(record) saved = { 0 };
	AUTO_FREE char *longest = calloc(1, RECORD_TEXT_MAX + 1);
	assert_non_null(longest);
	memset(longest, 1, RECORD_TEXT_MAX);
	for (uint16_t i = 0; i < MVM_ARRAY_SIZE(record_texts); i++)
		wire_put_str(&fields, (uint16_t)(TAG_RECORD_TEXTS + i), longest);
	wire_put_u64(&fields, TAG_RECORD_NUMBERS + NUMBER_STATE, RECORD_RUNNING);
	assert_int_equal(put(c, ASK_SAVE, &fields), 0);
	load_record(c->world, &saved);
	assert_int_equal(saved.state, RECORD_RUNNING);
	assert_null(saved.error); /* rather than a record that nobody can read */
}

static int new_log(struct cell *c, struct stat *ret)
{
	int fd = warden_new_log(&c->link, WARDEN_CONSOLE_LOG);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, ret), 0);
	return fd;
}

static void write_half(int fd)
{
	char block[4096];
	memset(block, 'x', sizeof(block));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
}

/* Each file keeps its blocks for as long as the asker has it open, with or without a name. */
static void a_log_is_renewed_once_it_is_full_and_closed(void **state)
{
	struct cell *c = *state;
	struct stat first, second, st;
	c->warden.record.log_max_bytes = 32768;
	AUTO_CLOSE int fd = new_log(c, &first);
	AUTO_CLOSE int again = new_log(c, &st);
	assert_int_equal(st.st_ino, first.st_ino); /* it is empty */
	write_half(fd);
	close(TAKE_FD(again));
	again = new_log(c, &st);
	assert_int_equal(st.st_ino, first.st_ino); /* it is open */
	close(TAKE_FD(again));
	close(TAKE_FD(fd));
	AUTO_CLOSE int next = new_log(c, &second);
	if (second.st_ino == first.st_ino)
		skip(); /* no leases here */
	write_half(next);
	close(TAKE_FD(next));
	fd = openat(c->world->folder.dir_fd, "console.log.1", O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(fd >= 0);
	again = new_log(c, &st);
	assert_int_equal(st.st_ino, second.st_ino); /* the one before is open */
	assert_int_equal(st.st_size, 16384);
}

/* ---- a state that is kept ---- */

static void one_that_can_save(struct cell *c)
{
	int revision_fd = c->world->revision_fd;
	int dir_fd = dir_make_at(revision_fd, "snapshot");
	assert_true(dir_fd >= 0);
	assert_int_equal(file_create_at(dir_fd, "mem.bin", "", 0, 0600), 0);
	assert_int_equal(file_create_at(dir_fd, "vmstate.bin", "", 0, 0600), 0);
	c->given.fd[SUPERVISOR_FD_REVISION] = revision_fd;
	c->given.fd[SUPERVISOR_FD_LEASE] = open("/dev/null", O_RDWR | O_CLOEXEC);
	c->warden.record.purpose = RECORD_FOR_USER;
	c->warden.record.restore = true;
	c->warden.memory_dir_fd = dir_fd;
}

/* fsync() of an O_PATH descriptor fails, as on a disk with errors.  The rest works. */
static void a_folder_that_cannot_be_synced_keeps_no_state(void **state)
{
	struct cell *c = *state;
	AUTO_DONE(strbuf) nonce = { 0 };
	int dir_fd = c->world->folder.dir_fd;
	AUTO_CLOSE int unsynced = openat(dir_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(unsynced >= 0);
	c->given.fd[SUPERVISOR_FD_INSTANCE] = unsynced;
	one_that_can_save(c);
	/* a suspend that fails: its guest runs on */
	wire_put_str(&nonce, TAG_TEXT,
		     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	assert_int_equal(put(c, ASK_SAVE_BEGIN, NULL), 0);
	assert_int_equal(put(c, ASK_SAVE_SUSPEND, &nonce), -EPROTO); /* nothing is copied */
	assert_int_equal(put_number(c, ASK_SAVE_COPY, 0), 0);
	assert_int_equal(put(c, ASK_SAVE_SUSPEND, &nonce), -EBADF);
	assert_false(saved_is_there(dir_fd));
	assert_false(c->warden.suspended);
	c->given.fd[SUPERVISOR_FD_INSTANCE] = dir_fd;
}

static int keep_fork(struct cell *c)
{
	AUTO_DONE(strbuf) nonce = { 0 };
	wire_put_str(&nonce, TAG_TEXT,
		     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	assert_int_equal(put(c, ASK_SAVE_BEGIN, NULL), 0);
	assert_int_equal(put_number(c, ASK_SAVE_COPY, 1), 0);
	return put(c, ASK_SAVE_FORK, &nonce);
}

static void forks_do_not_fill_the_disk(void **state)
{
	struct cell *c = *state;
	one_that_can_save(c);
	for (int i = 0; i < 16; i++)
		assert_int_equal(keep_fork(c), 0);
	assert_int_equal(keep_fork(c), -EBUSY);
	assert_int_equal(put(c, ASK_SAVE_FORK, NULL), -EPROTO); /* it is dropped */
	saved_sweep(c->world->folder.dir_fd);
	assert_int_equal(keep_fork(c), 0);
}

/* As for logs: whoever keeps all of these descriptors keeps one file. */
static void states_share_one_file_for_their_devices(void **state)
{
	struct cell *c = *state;
	struct stat first, second;
	one_that_can_save(c);
	AUTO_CLOSE int fd = warden_save_begin(&c->link, NULL);
	assert_int_equal(fstat(fd, &first), 0);
	write_half(fd);
	AUTO_CLOSE int next = warden_save_begin(&c->link, NULL);
	assert_int_equal(fstat(next, &second), 0);
	assert_int_equal(second.st_ino, first.st_ino);
	assert_int_equal(second.st_size, 0);
	write_half(next);
	assert_int_equal(put_number(c, ASK_SAVE_COPY, 0), 0);
	assert_int_equal(put(c, ASK_SAVE_DROP, NULL), 0);
	assert_int_equal(fstat(next, &second), 0);
	assert_int_equal(second.st_blocks, 0); /* its room is given back */
	assert_true(fcntl(next, F_GETFL) & O_WRONLY);
}

static void a_state_is_taken_once(void **state)
{
	struct cell *c = *state;
	int dir_fd = c->world->folder.dir_fd;
	c->warden.record.continues = RECORD_CONTINUES_SUSPENDED;
	assert_int_equal(mkdirat(dir_fd, SAVED_DIR, 0700), 0);
	assert_int_equal(put_number(c, ASK_USE_SAVED, USE_TAKE), 0);
	assert_int_equal(mkdirat(dir_fd, SAVED_DIR, 0700), 0); /* it is suspended again */
	assert_int_equal(put_number(c, ASK_USE_SAVED, USE_TAKE), -EPROTO);
	assert_int_equal(put_number(c, ASK_USE_SAVED, USE_FORGET), 0);
	assert_true(saved_is_there(dir_fd));
}

/* ---- a VMM ---- */

static bool runs(pid_t pid)
{
	return kill(pid, 0) == 0;
}

static void no_vm_runs_without_its_folder_or_its_files(void **state)
{
	struct cell *c = *state;
	AUTO_CLOSE int lease = open("/dev/null", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int revision = open("/dev/null", O_RDONLY | O_CLOEXEC);
	c->given.fd[SUPERVISOR_FD_LEASE] = lease;
	c->given.fd[SUPERVISOR_FD_REVISION] = revision;
	pid_t pid = give_body(c);
	assert_int_equal(put(c, ASK_RELEASE, NULL), 0);
	assert_false(runs(pid));
	pid = give_body(c);
	assert_int_equal(put(c, ASK_REMOVE, NULL), 0);
	assert_false(runs(pid));
	assert_false(has_folder(c->world, "web-1"));
	assert_int_equal(put(c, ASK_START, NULL), -EBUSY);
}

static void a_pid_is_forgotten_once_it_is_free(void **state)
{
	struct cell *c = *state;
	give_body(c);
	assert_int_equal(put(c, ASK_REAP, NULL), -ETIMEDOUT);
	assert_int_equal(put(c, ASK_KILL, NULL), 0);
	while (put(c, ASK_REAP, NULL) == -ETIMEDOUT)
		;
	assert_int_equal(c->warden.record.vmm_pid, 0);
	assert_int_equal(put(c, ASK_REAP, NULL), -ESRCH); /* nor is another child waited for */
	assert_int_equal(put(c, ASK_KILL, NULL), 0);
	assert_int_equal(put(c, ASK_CONFINE, NULL), 0);
	assert_null(c->warden.record.cgroup);
}

static void a_start_that_fails_keeps_nothing_open(void **state)
{
	struct cell *c = *state;
	char **compat = calloc(2, sizeof(*compat));
	assert_non_null(compat);
	compat[0] = strdup("version=1");
	compat[1] = strdup("accelerator=tcg");
	c->warden.revision.snapshot.compat.v = compat;
	c->warden.revision.snapshot.compat.n = 2;
	c->warden.record.restore = true;
	c->warden.record.memory = RECORD_MEMORY_SPARSE;
	c->given.fd[SUPERVISOR_FD_REVISION] = c->world->revision_fd;
	assert_int_equal(mkdirat(c->world->revision_fd, "snapshot", 0700), 0);
	assert_int_equal(put(c, ASK_START, NULL), -ENOENT); /* it has no memory to copy */
	assert_int_equal(c->warden.memory_dir_fd, -1);
	assert_int_equal(c->warden.theirs[0], -1);
	assert_int_equal(unlinkat(c->world->revision_fd, "snapshot", AT_REMOVEDIR), 0);
}

static void leave_wanted(struct cell *c, const char *name, const char *revision)
{
	AUTO_DONE(record) wanted = { 0 };
	copy_record(&c->world->record, &wanted);
	free(wanted.name);
	free(wanted.revision);
	wanted.name = strdup(name);
	wanted.revision = strdup(revision);
	wanted.purpose = RECORD_FOR_USER;
	wanted.restore = true;
	AUTO_FREE char *json = record_to_json(&wanted);
	assert_non_null(json);
	assert_int_equal(file_replace_unsynced_at(c->world->folder.dir_fd, INSTANCE_WANTED_NAME,
						  json, strlen(json), 0600),
			 0);
}

static void only_a_start_makes_an_instance_of_a_vm_of_a_pool(void **state)
{
	struct cell *c = *state;
	const char *revision = c->world->record.revision;
	leave_wanted(c, "mine", revision);
	assert_int_equal(put(c, ASK_ADOPT, NULL), -EBUSY); /* it is not of a pool */
	c->warden.record.purpose = RECORD_FOR_POOL;
	leave_wanted(c, "mine", "ffffffffffffffffffffffffffffffff");
	assert_int_equal(put(c, ASK_ADOPT, NULL), -ESTALE);
	assert_int_equal(put(c, ASK_ADOPT, NULL), -ENOENT); /* a record is for one time */
	assert_int_equal(put(c, ASK_ADOPTED, NULL), 0);
	assert_string_equal(c->warden.record.name, "web-1");
	leave_wanted(c, "mine", revision);
	assert_int_equal(put(c, ASK_ADOPT, NULL), 0);
	assert_true(has_folder(c->world, "mine"));
	assert_int_equal(put(c, ASK_ADOPT, NULL), -EBUSY);
	assert_int_equal(put(c, ASK_GIVE_UP_ADOPTION, NULL), 0);
	assert_true(has_folder(c->world, "web-1"));
	leave_wanted(c, "mine", revision);
	assert_int_equal(put(c, ASK_ADOPT, NULL), 0);
	assert_int_equal(put(c, ASK_ADOPTED, NULL), 0);
	assert_string_equal(c->warden.record.name, "mine");
	assert_int_equal(put(c, ASK_ADOPT, NULL), -EBUSY);
}

static int ask_rename(struct cell *c, const char *name)
{
	return warden_rename(&c->link, name, NULL);
}

static void want_name(struct cell *c, const char *name)
{
	assert_int_equal(file_replace_unsynced_at(c->world->folder.dir_fd, INSTANCE_RENAME_NAME,
						  name, strlen(name), 0600),
			 0);
}

static void only_a_command_renames_an_instance(void **state)
{
	struct cell *c = *state;
	assert_int_equal(ask_rename(c, "mine"), -ENOENT); /* a guest wants it */
	want_name(c, "yours");
	assert_int_equal(ask_rename(c, "mine"), -EBUSY);
	assert_int_equal(put(c, ASK_RENAME, NULL), -EBUSY);
	want_name(c, "../x");
	assert_int_equal(ask_rename(c, "../x"), -EINVAL);
	want_name(c, "0123456789012345678901234567890123456789012345678901234567890123456789");
	assert_true(ask_rename(c, "mine") < 0);
	c->warden.record.purpose = RECORD_FOR_POOL;
	want_name(c, "mine");
	assert_int_equal(ask_rename(c, "mine"), -EINVAL);
	c->warden.record.purpose = RECORD_FOR_USER;
	assert_true(has_folder(c->world, "web-1"));
	assert_int_equal(ask_rename(c, "mine"), 0);
	assert_true(has_folder(c->world, "mine"));
	assert_string_equal(c->warden.record.name, "mine");
	assert_int_equal(ask_rename(c, "mine"), -ENOENT); /* a name is for one time */
}

static void a_message_is_bounded(void **state)
{
	(void)state;
	static const struct {
		uint32_t head[3];
		size_t len;
		int code;
	} cases[] = {
		{ { ASK_SAVE, LINE_BYTES_MAX + 1, 0 }, 12, -EPROTO },
		{ { ASK_SAVE, UINT32_MAX, 0 }, 12, -EPROTO },
		{ { ASK_SAVE, 0, 1 }, 12, -EPROTO }, /* a descriptor that did not come */
		{ { ASK_SAVE, 8, 0 }, 12, -EPIPE },
		{ { ASK_SAVE, 0, 0 }, 5, -EPIPE },
		{ { ASK_SAVE, 0, 0 }, 12, 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(line_message) got = { 0 };
		int pair[2];
		assert_int_equal(sock_pair(pair), 0);
		assert_int_equal(send(pair[0], cases[i].head, cases[i].len, 0), cases[i].len);
		close(pair[0]);
		assert_int_equal(line_receive(pair[1], &got), cases[i].code);
		close(pair[1]);
	}
}

static void a_message_carries_fields_and_descriptors(void **state)
{
	(void)state;
	AUTO_DONE(line_message) sent = { .what = 7 };
	AUTO_DONE(line_message) got = { 0 };
	int pair[2];
	assert_int_equal(sock_pair(pair), 0);
	wire_put_str(&sent.fields, TAG_TEXT, "hello");
	for (unsigned i = 0; i < LINE_FDS_MAX; i++)
		line_add_fd(&sent, open("/dev/null", O_RDWR | O_CLOEXEC));
	assert_int_equal(line_send(pair[0], -1, &sent), 0);
	assert_int_equal(line_receive(pair[1], &got), 0);
	assert_int_equal(got.what, 7);
	assert_int_equal(got.n_fds, LINE_FDS_MAX);
	assert_int_equal(fcntl(got.fds[LINE_FDS_MAX - 1], F_GETFD), FD_CLOEXEC);
	assert_int_equal(got.fields.len, sent.fields.len);
	close(pair[0]);
	close(pair[1]);
}

/* It hands over its own end of the line with a question that never becomes whole, and ends: nobody
 * would ever see the line close. */
static void a_question_keeps_no_descriptor_and_ends_with_its_asker(void **state)
{
	(void)state;
	static const uint32_t head[3] = { ASK_SAVE, 1000, 0 };
	char byte;
	int pair[2], end[2];
	AUTO_DONE(line_message) got = { 0 };
	AUTO_DONE(line_message) answer = { 0 };
	assert_int_equal(sock_pair(pair), 0);
	assert_int_equal(sock_pair(end), 0);
	assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(line_receive_question(pair[1], end[1], &got), -EAGAIN);
	assert_int_equal(sock_send_fd(pair[0], head, sizeof(head), pair[0]), 0);
	close(end[0]);
	assert_int_equal(line_receive_question(pair[1], end[1], &got), -ECANCELED);
	close(pair[0]);
	assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0); /* no copy of it is left */
	close(pair[1]);

	/* nor does an answer wait for a process that has ended */
	assert_int_equal(sock_pair(pair), 0);
	assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
	int r;
	while ((r = line_send(pair[1], end[1], &answer)) == 0)
		;
	assert_int_equal(r, -ECANCELED);
	close(pair[0]);
	close(pair[1]);
	close(end[1]);
}

static void a_question_has_no_descriptors_and_comes_in_any_pieces(void **state)
{
	(void)state;
	static const uint32_t with_fd[3] = { ASK_SAVE, 0, 1 };
	int pair[2], end[2];
	AUTO_DONE(line_message) got = { 0 };
	AUTO_DONE(line_message) sent = { .what = 9 };
	assert_int_equal(sock_pair(pair), 0);
	assert_int_equal(sock_pair(end), 0);
	assert_int_equal(sock_send_fd(pair[0], with_fd, sizeof(with_fd), end[0]), 0);
	assert_int_equal(line_receive_question(pair[1], end[1], &got), -EPROTO);
	wire_put_str(&sent.fields, TAG_TEXT, "hello");
	assert_int_equal(line_send(pair[0], -1, &sent), 0);
	assert_int_equal(line_receive_question(pair[1], end[1], &got), 0);
	assert_int_equal(got.what, 9);
	assert_int_equal(got.fields.len, sent.fields.len);
	close(pair[0]);
	close(pair[1]);
	close(end[0]);
	close(end[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_CELL(a_supervisor_changes_how_its_vm_is_and_nothing_else),
		IN_A_CELL(a_record_that_makes_no_sense_changes_nothing),
		IN_A_CELL(without_a_vmm_there_is_nothing_to_ask_for),
		IN_A_CELL(events_are_bounded),
		IN_A_CELL(only_known_events_of_bounded_length_are_told),
		IN_A_CELL(a_record_stays_readable),
		IN_A_CELL(a_log_is_renewed_once_it_is_full_and_closed),
		IN_A_CELL(a_folder_that_cannot_be_synced_keeps_no_state),
		IN_A_CELL(forks_do_not_fill_the_disk),
		IN_A_CELL(states_share_one_file_for_their_devices),
		IN_A_CELL(a_state_is_taken_once),
		IN_A_CELL(no_vm_runs_without_its_folder_or_its_files),
		IN_A_CELL(a_pid_is_forgotten_once_it_is_free),
		IN_A_CELL(a_start_that_fails_keeps_nothing_open),
		IN_A_CELL(only_a_start_makes_an_instance_of_a_vm_of_a_pool),
		IN_A_CELL(only_a_command_renames_an_instance),
		cmocka_unit_test(a_message_is_bounded),
		cmocka_unit_test(a_message_carries_fields_and_descriptors),
		cmocka_unit_test(a_question_keeps_no_descriptor_and_ends_with_its_asker),
		cmocka_unit_test(a_question_has_no_descriptors_and_comes_in_any_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
