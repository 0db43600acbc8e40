/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kept commands and the agent's work on files: what outlives a stream, what several viewers see,
 * and what the verbs do to a scratch folder.
 */
#include <sys/xattr.h>

#include "agent_host.h"

static void start_kept(struct host *h, uint32_t stream, bool with_stdin, const char *script,
		       uint64_t timeout_ms)
{
	AUTO_DONE(strbuf) b = { 0 };
	put_args(&b, (const char *const[]){ "sh", "-c", script, NULL });
	wire_put_u64(&b, FIELD_STDIN, with_stdin);
	wire_put_str(&b, FIELD_NOTE, "a note");
	if (timeout_ms)
		wire_put_u64(&b, FIELD_TIMEOUT_MS, timeout_ms);
	call(h, stream, CALL_KEPT_START, &b);
}

static uint64_t started(struct host *h, uint32_t stream)
{
	struct frame f;
	receive_type(h, &f, FRAME_REPLY, stream);
	assert_int_equal(number_in(&f, FIELD_STATUS), 0);
	return number_in(&f, FIELD_PID);
}

static void attach(struct host *h, uint32_t stream, uint64_t pid)
{
	AUTO_DONE(strbuf) b = { 0 };
	wire_put_u64(&b, FIELD_PID, pid);
	call(h, stream, CALL_KEPT_ATTACH, &b);
}

static void let_go(struct host *h, uint32_t stream)
{
	struct frame f;
	assert_int_equal(channel_send(&h->c, FRAME_RESET, stream, NULL, 0), 0);
	receive_type(h, &f, FRAME_END, stream);
}

static void input(struct host *h, uint32_t stream, const char *text)
{
	char piece[256] = { DATA_STDIN };
	strcpy(piece + 1, text);
	assert_int_equal(channel_send(&h->c, FRAME_DATA, stream, piece, 1 + strlen(text)), 0);
}

static uint64_t listed(struct host *h, uint32_t stream)
{
	struct frame f;
	struct wire_field field;
	call(h, stream, CALL_KEPT_LIST, NULL);
	receive_type(h, &f, FRAME_REPLY, stream);
	assert_int_equal(number_in(&f, FIELD_STATUS), 0);
	if (wire_find(f.payload, f.len, FIELD_PID, &field) == 0)
		return 0;
	return number_in(&f, FIELD_PID);
}

static void a_kept_command_outlives_its_stream(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	configured(h);
	start_kept(h, 2, true, "read line; echo got $line; exit 4", 0);
	uint64_t pid = started(h, 2);
	let_go(h, 2);
	assert_int_equal(listed(h, 3), pid);
	attach(h, 4, pid);
	assert_int_equal(started(h, 4), pid);
	input(h, 4, "word\n");
	assert_int_equal(collect(h, 4, &o), FIELD_EXIT_CODE);
	assert_int_equal(o.code, 4);
	assert_string_equal(o.out[DATA_STDOUT].data, "got word\n");
	assert_int_equal(listed(h, 5), 0);
}

static void its_end_stays_known(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	configured(h);
	start_kept(h, 2, true, "read line; exit 7", 0);
	uint64_t pid = started(h, 2);
	input(h, 2, "\n");
	assert_int_equal(collect(h, 2, &o), FIELD_EXIT_CODE);
	attach(h, 3, pid);
	assert_int_equal(started(h, 3), pid);
	assert_int_equal(collect(h, 3, &o), FIELD_EXIT_CODE);
	assert_int_equal(o.code, 7);
	attach(h, 4, 1);
	assert_int_equal(reply_status(h, 4), ENOENT);
}

static void all_viewers_get_the_output(void **state)
{
	struct host *h = *state;
	struct frame f;
	unsigned ends = 0;
	size_t bytes[2] = { 0 };

	configured(h);
	start_kept(h, 2, true, "read line; seq 1 100000", 0);
	uint64_t pid = started(h, 2);
	attach(h, 3, pid);
	assert_int_equal(started(h, 3), pid);
	input(h, 3, "\n");
	while (ends < 2) { /* 588,895 bytes, more than two windows */
		receive(h, &f);
		assert_in_range(f.stream, 2, 3);
		ends += f.type == FRAME_END;
		if (f.type != FRAME_DATA || f.len < 2)
			continue;
		bytes[f.stream - 2] += f.len - 1;
		credit(h, f.stream, f.len - 1);
	}
	assert_int_equal(bytes[0], 588895);
	assert_int_equal(bytes[1], 588895);
}

static void a_viewer_that_reads_nothing_can_leave(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	struct frame f;
	size_t got = 0;

	configured(h);
	start_kept(h, 2, false, "seq 1 100000", 0);
	started(h, 2);
	while (got < WINDOW_BYTES) {
		receive_type(h, &f, FRAME_DATA, 2);
		got += f.len - 1;
	}
	uint64_t pid = listed(h, 3); /* it waits in its write */
	assert_int_not_equal(pid, 0);
	let_go(h, 2);
	attach(h, 4, pid); /* what is left was dropped, or comes */
	started(h, 4);
	assert_int_equal(collect(h, 4, &o), FIELD_EXIT_CODE);
	assert_int_equal(o.code, 0);
}

static void input_of_a_viewer_that_has_left_arrives(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	configured(h);
	start_kept(h, 2, true, "cat", 0);
	uint64_t pid = started(h, 2);
	attach(h, 3, pid);
	started(h, 3);
	input(h, 3, "one\n");
	input(h, 3, "two\n");
	input(h, 3, "");
	assert_int_equal(channel_send(&h->c, FRAME_RESET, 3, NULL, 0), 0);
	assert_int_equal(collect(h, 2, &o), FIELD_EXIT_CODE);
	assert_string_equal(o.out[DATA_STDOUT].data, "one\ntwo\n");
}

static void its_timeout_is_the_agents(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	configured(h);
	start_kept(h, 2, false, "sleep 1000", 200);
	uint64_t pid = started(h, 2);
	let_go(h, 2);
	attach(h, 3, pid);
	started(h, 3);
	assert_int_equal(collect(h, 3, &o), FIELD_SIGNAL);
	assert_int_equal(o.code, SIGKILL);
}

/* Files ------------------------------------------------------------------------------------- */

/* Do a verb on paths below the scratch folder; "" of an argument: none.  Returns the status. */
static int files(struct host *h, const char *verb, const char *a, const char *b,
		 const char *contents, struct outcome *ret)
{
	static uint32_t stream = 100;
	AUTO_DONE(strbuf) args = { 0 };
	put_args(&args, (const char *const[]){ verb, a, b, NULL });
	AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
	wire_put_str(&args, FIELD_USER, uid);
	wire_put_u64(&args, FIELD_STDIN, contents != NULL);
	call(h, ++stream, CALL_FILES, &args);
	assert_int_equal(reply_status(h, stream), 0);
	if (contents) {
		input(h, stream, contents);
		input(h, stream, "");
	}
	outcome_done(ret);
	*ret = (struct outcome){ 0 };
	assert_int_equal(collect(h, stream, ret), FIELD_EXIT_CODE);
	return (int)ret->code;
}

static const char *output(const struct outcome *o)
{
	return o->out[DATA_STDOUT].data;
}

/* The nth string of an entry. */
static const char *part(const struct outcome *o, unsigned n)
{
	const char *s = output(o);
	while (n-- > 0)
		s += strlen(s) + 1;
	return s;
}

static void files_are_written_listed_moved_and_removed(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	char dir[] = "/tmp/mvm-kept-XXXXXX", path[128], to[128];

	assert_non_null(mkdtemp(dir));
	configured(h);
	snprintf(path, sizeof(path), "%s/a/./b/../f", dir);
	assert_int_equal(files(h, "write", path, NULL, "hello", &o), 0);
	snprintf(path, sizeof(path), "%s/a/f", dir);
	assert_string_equal(part(&o, 0), "f");
	assert_string_equal(part(&o, 1), "644");
	assert_string_equal(part(&o, 2), "5");
	assert_string_equal(part(&o, 6), path);
	/* a mode that is none changes nothing */
	assert_int_equal(files(h, "write", path, "08", NULL, &o), EINVAL);
	assert_int_equal(files(h, "write", path, "-1", NULL, &o), EINVAL);
	assert_int_equal(files(h, "write", path, "10644", NULL, &o), EINVAL);
	assert_int_equal(files(h, "read", path, NULL, NULL, &o), 0);
	assert_memory_equal(output(&o) + o.out[DATA_STDOUT].len - 5, "hello", 5);
	assert_int_equal(files(h, "stat", "/tmp/../..", NULL, NULL, &o), 0);
	assert_string_equal(part(&o, 6), "/");
	assert_int_equal(files(h, "read", dir, NULL, NULL, &o), EISDIR);
	assert_int_equal(files(h, "mkdir", dir, NULL, NULL, &o), EEXIST);
	assert_int_equal(files(h, "mkdir", path, NULL, NULL, &o), ENOTDIR);
	assert_int_equal(files(h, "list", path, "1", NULL, &o), ENOTDIR);
	assert_int_equal(files(h, "list", dir, "0", NULL, &o), EINVAL);
	assert_int_equal(files(h, "list", dir, "2", NULL, &o), 0);
	assert_string_equal(part(&o, 0), "d");
	assert_string_equal(part(&o, 9 + 6), path);
	snprintf(to, sizeof(to), "%s/new/g", dir);
	assert_int_equal(files(h, "move", path, to, NULL, &o), 0);
	assert_int_equal(files(h, "stat", path, NULL, NULL, &o), ENOENT);
	assert_int_equal(files(h, "move", path, to, NULL, &o), ENOENT);
	assert_int_equal(symlink(to, path), 0);
	assert_int_equal(files(h, "stat", path, NULL, NULL, &o), 0);
	assert_string_equal(part(&o, 0), "f");
	assert_string_equal(part(&o, 7), to);
	assert_int_equal(files(h, "remove", dir, NULL, NULL, &o), 0);
	assert_int_equal(files(h, "remove", dir, NULL, NULL, &o), 0);
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(files(h, "fly", dir, NULL, NULL, &o), EOPNOTSUPP);
}

static void a_write_that_is_broken_off_leaves_the_old_file(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
	char dir[] = "/tmp/mvm-kept-XXXXXX", path[128];
	struct stat before, after;

	assert_non_null(mkdtemp(dir));
	configured(h);
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(files(h, "write", path, "600", "old", &o), 0);
	assert_int_equal(stat(path, &before), 0);
	put_args(&args, (const char *const[]){ "write", path, "", "whole", NULL });
	wire_put_str(&args, FIELD_USER, uid);
	wire_put_u64(&args, FIELD_STDIN, 1);
	call(h, 90, CALL_FILES, &args);
	assert_int_equal(reply_status(h, 90), 0);
	input(h, 90, "n");
	assert_int_equal(channel_send(&h->c, FRAME_RESET, 90, NULL, 0), 0);
	assert_int_equal(collect(h, 90, &o), FIELD_SIGNAL);
	assert_int_equal(files(h, "read", path, NULL, NULL, &o), 0);
	assert_memory_equal(output(&o) + o.out[DATA_STDOUT].len - 3, "old", 3);

	call(h, 91, CALL_FILES, &args);
	assert_int_equal(reply_status(h, 91), 0);
	input(h, 91, "new");
	input(h, 91, "");
	outcome_done(&o);
	o = (struct outcome){ 0 };
	assert_int_equal(collect(h, 91, &o), FIELD_EXIT_CODE);
	assert_int_equal(o.code, 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(after.st_mode & 07777, 0600);
	assert_int_equal(files(h, "list", dir, "1", NULL, &o), 0);
	assert_string_equal(part(&o, 6), path);
	assert_int_equal(o.out[DATA_STDOUT].len, part(&o, 9) - output(&o)); /* nothing beside it */
	assert_int_equal(files(h, "remove", dir, NULL, NULL, &o), 0);
}

/* Write a file; metadata: NULL to leave what it has. */
static int write_with(struct host *h, const char *path, const char *metadata, struct outcome *ret)
{
	static uint32_t stream = 200;
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_FREE char *uid = str_printf("%u", (unsigned)getuid());
	put_args(&args, (const char *const[]){ "write", path, "", "", metadata, NULL });
	wire_put_str(&args, FIELD_USER, uid);
	call(h, ++stream, CALL_FILES, &args);
	assert_int_equal(reply_status(h, stream), 0);
	outcome_done(ret);
	*ret = (struct outcome){ 0 };
	assert_int_equal(collect(h, stream, ret), FIELD_EXIT_CODE);
	return (int)ret->code;
}

static void a_write_replaces_the_metadata(void **state)
{
	struct host *h = *state;
	AUTO_DONE(outcome) o = { 0 };
	char path[] = "/tmp/mvm-kept-XXXXXX";
	AUTO_CLOSE int fd = mkstemp(path);

	assert_true(fd >= 0);
	if (fsetxattr(fd, "user.e2b.old", "x", 1, 0) < 0) {
		assert_int_equal(errno, EOPNOTSUPP);
		unlink(path);
		skip(); /* /tmp has no such attributes */
	}
	configured(h);
	assert_int_equal(write_with(h, path, NULL, &o), 0);
	assert_string_equal(part(&o, 8), "old=x\n");
	assert_int_equal(write_with(h, path, "author=a = b\nempty=\n", &o), 0);
	assert_int_equal(fsetxattr(fd, "user.e2b.lines", "a\nb=c", 5, 0), 0);
	assert_int_equal(fsetxattr(fd, "user.other", "x", 1, 0), 0);
	assert_int_equal(files(h, "stat", path, NULL, NULL, &o), 0);
	assert_non_null(strstr(part(&o, 8), "author=a = b\n"));
	assert_non_null(strstr(part(&o, 8), "empty=\n"));
	assert_int_equal(strlen(part(&o, 8)), strlen("author=a = b\nempty=\n"));
	assert_int_equal(write_with(h, path, "=no key\n", &o), EINVAL);
	assert_int_equal(write_with(h, path, "", &o), 0);
	assert_string_equal(part(&o, 8), "");
	assert_int_equal(fgetxattr(fd, "user.other", NULL, 0), 1);
	unlink(path);
}

/* Take one event of a watch. */
static void expect_event(struct host *h, struct strbuf *got, const char *what, const char *name)
{
	struct frame f;
	size_t len = strlen(what) + strlen(name) + 2;
	while (got->len < len) {
		receive_type(h, &f, FRAME_DATA, 2);
		strbuf_add(got, f.payload + 1, f.len - 1);
	}
	/* a file that is made while its new folder is being watched may be told of twice */
	if (strcmp(what, "write") == 0 && strcmp(got->data, "create") == 0) {
		strbuf_consume(got, strlen("create") + strlen(name) + 2);
		expect_event(h, got, what, name);
		return;
	}
	assert_string_equal(got->data, what);
	assert_string_equal(got->data + strlen(what) + 1, name);
	strbuf_consume(got, len);
}

static void a_watch_sees_new_folders_too(void **state)
{
	struct host *h = *state;
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) got = { 0 };
	AUTO_DONE(outcome) o = { 0 };
	char dir[] = "/tmp/mvm-kept-XXXXXX", path[128];

	assert_non_null(mkdtemp(dir));
	configured(h);
	put_args(&args, (const char *const[]){ "watch", dir, "recursive", NULL });
	call(h, 2, CALL_FILES, &args);
	assert_int_equal(reply_status(h, 2), 0);
	expect_event(h, &got, "ready", "");
	snprintf(path, sizeof(path), "%s/sub", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	expect_event(h, &got, "create", "sub");
	snprintf(path, sizeof(path), "%s/sub/f", dir);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	expect_event(h, &got, "create", "sub/f");
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	expect_event(h, &got, "write", "sub/f");
	assert_int_equal(unlink(path), 0);
	expect_event(h, &got, "remove", "sub/f");
	assert_int_equal(channel_send(&h->c, FRAME_RESET, 2, NULL, 0), 0);
	assert_int_equal(collect(h, 2, &o), FIELD_SIGNAL);
	snprintf(path, sizeof(path), "%s/sub", dir);
	rmdir(path);
	rmdir(dir);
}

static void a_watch_tells_entries(void **state)
{
	struct host *h = *state;
	AUTO_DONE(strbuf) args = { 0 };
	AUTO_DONE(strbuf) got = { 0 };
	AUTO_DONE(outcome) o = { 0 };
	char dir[] = "/tmp/mvm-kept-XXXXXX", path[128];
	static const char removed[] = "remove\0f\0"; /* and no entry */
	struct frame f;

	assert_non_null(mkdtemp(dir));
	configured(h);
	put_args(&args, (const char *const[]){ "watch", dir, "", "entries", "local", NULL });
	call(h, 2, CALL_FILES, &args);
	assert_int_equal(reply_status(h, 2), 0);
	expect_event(h, &got, "ready", "");
	while (got.len < 1) { /* its entry */
		receive_type(h, &f, FRAME_DATA, 2);
		strbuf_add(&got, f.payload + 1, f.len - 1);
	}
	assert_int_equal(got.data[0], '\0');
	strbuf_consume(&got, 1);
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	expect_event(h, &got, "create", "f");
	while (got.len == 0 || !memmem(got.data, got.len, path, strlen(path) + 1)) {
		receive_type(h, &f, FRAME_DATA, 2);
		strbuf_add(&got, f.payload + 1, f.len - 1);
	}
	assert_string_equal(got.data, "d");
	assert_int_equal(rmdir(path), 0);
	while (got.len < sizeof(removed) ||
	       memcmp(got.data + got.len - sizeof(removed), removed, sizeof(removed)) != 0) {
		receive_type(h, &f, FRAME_DATA, 2);
		strbuf_add(&got, f.payload + 1, f.len - 1);
	}
	assert_int_equal(channel_send(&h->c, FRAME_RESET, 2, NULL, 0), 0);
	assert_int_equal(collect(h, 2, &o), FIELD_SIGNAL);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
		T(a_kept_command_outlives_its_stream),
		T(its_end_stays_known),
		T(all_viewers_get_the_output),
		T(a_viewer_that_reads_nothing_can_leave),
		T(input_of_a_viewer_that_has_left_arrives),
		T(its_timeout_is_the_agents),
		T(files_are_written_listed_moved_and_removed),
		T(a_write_replaces_the_metadata),
		T(a_write_that_is_broken_off_leaves_the_old_file),
		T(a_watch_sees_new_folders_too),
		T(a_watch_tells_entries),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
