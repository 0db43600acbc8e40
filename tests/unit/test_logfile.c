/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "instance/logcursor.h"
#include "log_in.h"
#include "scratch.h"

static int dir_of(void **state)
{
	struct scratch *s = *state;
	return s->fd;
}

/* Read all lines, joined as "a\nb". */
static char *read_all(struct log_cursor *c)
{
	AUTO_DONE(strbuf) out = { 0 };
	while (log_cursor_peek(c) > 0) {
		strbuf_add(&out, c->entry.text, c->entry.len);
		if (c->entry.full)
			strbuf_adds(&out, "\n");
		log_cursor_pop(c);
	}
	return strbuf_take(&out);
}

static void add(struct logfile *l, const char *text)
{
	logfile_add(l, text, strlen(text));
}

static void added_lines_are_read_back(void **state)
{
	struct logfile l;
	static struct log_cursor c;

	assert_int_equal(log_in(&l, dir_of(state), "a.log", 0), 0);
	assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
	add(&l, "one\ntwo\n\npart");
	AUTO_FREE char *first = read_all(&c);
	assert_string_equal(first, "one\ntwo\n\npart");
	add(&l, " and rest\n");
	AUTO_FREE char *second = read_all(&c);
	assert_string_equal(second, " and rest\n");
	assert_int_equal(strlen(c.entry.time), LOGFILE_TIME_SIZE - 1);
	assert_string_equal(logfile_tail(&l), "one\ntwo\n\npart and rest");
	log_cursor_done(&c);
	logfile_close(&l);
}

static void a_log_stays_within_twice_its_limit_and_loses_only_its_beginning(void **state)
{
	struct logfile l;
	static struct log_cursor c;
	struct stat st;
	int number = -1, expected = 0;

	assert_int_equal(log_in(&l, dir_of(state), "a.log", 4096), 0);
	for (int i = 0; i < 500; i++) {
		char line[32];
		snprintf(line, sizeof(line), "line %d\n", i);
		add(&l, line);
	}
	assert_int_equal(fstatat(dir_of(state), "a.log", &st, 0), 0);
	assert_in_range(st.st_size, 1, 4096);
	assert_int_equal(fstatat(dir_of(state), "a.log.1", &st, 0), 0);
	assert_in_range(st.st_size, 3072, 4096);

	assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
	while (log_cursor_peek(&c) > 0) {
		assert_int_equal(sscanf(c.entry.text, "line %d", &number), 1);
		assert_true(expected == 0 || number == expected);
		expected = number + 1;
		log_cursor_pop(&c);
	}
	assert_int_equal(number, 499);
	log_cursor_done(&c);
	logfile_close(&l);
}

static void a_reader_that_keeps_up_misses_nothing_in_a_rotation(void **state)
{
	struct logfile l;
	static struct log_cursor c;
	int expected = 0;

	assert_int_equal(log_in(&l, dir_of(state), "a.log", 512), 0);
	assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
	for (int i = 0; i < 300; i++) {
		char line[32];
		snprintf(line, sizeof(line), "%d\n", i);
		add(&l, line);
		if (i % 7)
			continue;
		while (log_cursor_peek(&c) > 0)
			assert_int_equal(atoi((log_cursor_pop(&c), c.entry.text)), expected++);
	}
	while (log_cursor_peek(&c) > 0)
		assert_int_equal(atoi((log_cursor_pop(&c), c.entry.text)), expected++);
	assert_int_equal(expected, 300);
	log_cursor_done(&c);
	logfile_close(&l);
}

static void a_log_is_never_written_through_another_name(void **state)
{
	int dir = scratch_fd(state);
	AUTO_FREE char *text = NULL;
	struct logfile l;
	assert_int_equal(file_create_at(dir, "precious", "mine", 4, 0600), 0);
	assert_int_equal(linkat(dir, "precious", dir, "log", 0), 0);
	assert_int_equal(log_in(&l, dir, "log", 0), 0);
	logfile_add(&l, "line\n", 5);
	logfile_close(&l);
	assert_int_equal(file_read_at(dir, "precious", 100, &text, NULL), 0);
	assert_string_equal(text, "mine");
	AUTO_CLOSE int old = openat(dir, "log" LOGFILE_OLD_SUFFIX, O_RDONLY | O_CLOEXEC);
	assert_true(file_is_at(old, dir, "precious")); /* its text stays readable as the old log */
	assert_int_equal(unlinkat(dir, "log", 0) | mkfifoat(dir, "log", 0600), 0);
	assert_true(log_in(&l, dir, "log", 0) < 0);
	logfile_close(&l);
}

static void long_lines_come_in_parts_and_foreign_files_as_they_are(void **state)
{
	struct logfile l;
	static struct log_cursor c;
	static char text[3 * LOGFILE_PART_MAX];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\n';
	assert_int_equal(log_in(&l, dir_of(state), "a.log", 0), 0);
	logfile_add(&l, text, sizeof(text));
	assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
	AUTO_FREE char *back = read_all(&c);
	assert_int_equal(strlen(back), sizeof(text));
	assert_memory_equal(back, text, sizeof(text));
	log_cursor_done(&c);
	logfile_close(&l);

	memset(text, 'y', sizeof(text)); /* not in our format, and without a newline */
	assert_int_equal(file_create_at(dir_of(state), "b.log", text, sizeof(text), 0600), 0);
	assert_int_equal(log_cursor_open(&c, dir_of(state), "b.log"), 0);
	assert_int_equal(log_cursor_peek(&c), 1);
	assert_string_equal(c.entry.time, "");
	assert_false(c.entry.full);
	assert_in_range(c.entry.len, LOGFILE_LINE_MAX, 2 * LOGFILE_LINE_MAX);
	log_cursor_done(&c);
}

static void a_missing_log_is_empty(void **state)
{
	struct logfile l;
	static struct log_cursor c;

	assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
	assert_int_equal(log_cursor_peek(&c), 0);
	assert_int_equal(log_in(&l, dir_of(state), "a.log", 0), 0);
	add(&l, "there\n");
	assert_int_equal(log_cursor_peek(&c), 1);
	log_cursor_done(&c);
	logfile_close(&l);
}

/* The size of a file. */
static uint64_t size_of(void **state, const char *name)
{
	struct stat st;
	return fstatat(dir_of(state), name, &st, 0) == 0 ? (uint64_t)st.st_size : 0;
}

static void newlines_take_four_bytes_each(void **state)
{
	struct logfile l;
	static struct log_cursor c;
	char newlines[10000];
	size_t lines = 0;

	memset(newlines, '\n', sizeof(newlines));
	assert_int_equal(log_in(&l, dir_of(state), "a.log", 0), 0);
	for (int i = 0; i < 10; i++)
		logfile_add(&l, newlines, sizeof(newlines));
	/* at most a time every 10 ms, however slow this machine is */
	assert_in_range(size_of(state, "a.log"), 4 * 100000, 4 * 100000 + 100 * LOGFILE_TIME_SIZE);
	assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
	for (; log_cursor_peek(&c) > 0; lines++) {
		assert_int_equal(c.entry.len, 0);
		assert_int_equal(strlen(c.entry.time), LOGFILE_TIME_SIZE - 1);
		log_cursor_pop(&c);
	}
	assert_int_equal(lines, 100000);
	log_cursor_done(&c);
	logfile_close(&l);
}

static void each_file_begins_with_a_time(void **state)
{
	struct logfile l;
	char start[5] = "";

	assert_int_equal(log_in(&l, dir_of(state), "a.log", 4096), 0);
	for (int i = 0; i < 400; i++) {
		static struct log_cursor c;
		add(&l, "0123456789\n");
		assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
		assert_int_equal(log_cursor_peek(&c), 1);
		assert_string_not_equal(c.entry.time, "");
		assert_int_equal(pread(c.fd, start, 2, 0), 2);
		assert_string_equal(start, "20");
		log_cursor_done(&c);
	}
	logfile_close(&l);
}

/* The number of dropped bytes that the log reports, summed up. */
static unsigned long long said_dropped(const char *text)
{
	unsigned long long sum = 0, n = 0;
	while ((text = strstr(text, "\nmvm: "))) {
		text += strlen("\nmvm: ");
		if (sscanf(text, "%llu bytes of output were dropped", &n) == 1)
			sum += n;
	}
	return sum;
}

static void a_flood_is_cut_and_dropped_bytes_are_counted(void **state)
{
	struct logfile l;
	static struct log_cursor c;
	enum { CHUNK = 65536, CHUNKS = 1600 }; /* 100 MiB */
	AUTO_FREE char *chunk = malloc(CHUNK);
	size_t kept = 0;

	assert_non_null(chunk);
	memset(chunk, 'x', CHUNK);
	chunk[CHUNK - 1] = '\n';
	assert_int_equal(log_in(&l, dir_of(state), "a.log", 0), 0);
	l.max_bytes = UINT64_C(1) << 30; /* everything fits one file; this also raises the rate */
	l.may_write = 8 << 20;
	l.refilled_ns = INT64_MAX; /* no time passes, however slow this machine is */
	for (int i = 0; i < CHUNKS; i++)
		logfile_add(&l, chunk, CHUNK);
	logfile_close(&l);
	assert_in_range(size_of(state, "a.log"), 8 << 20, (8 << 20) + 2 * CHUNK);

	assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
	AUTO_FREE char *text = read_all(&c);
	for (const char *p = text; (p = strchr(p, 'x')); kept++)
		p++;
	assert_non_null(strstr(text, "\nmvm: output is dropped from here on: this log takes "));
	assert_int_equal(kept / (CHUNK - 1) * CHUNK + said_dropped(text),
			 (unsigned long long)CHUNK * CHUNKS);
	log_cursor_done(&c);
}

static void the_log_continues_after_a_flood(void **state)
{
	struct logfile l;
	static struct log_cursor c;

	assert_int_equal(log_in(&l, dir_of(state), "a.log", 0), 0);
	l.may_write = 0;
	l.refilled_ns = INT64_MAX; /* no time passes, however slow this machine is */
	add(&l, "lost");
	add(&l, " too\n");
	l.refilled_ns = clock_now_ns() - INT64_C(2000000000); /* two seconds later */
	add(&l, "back\n");
	assert_int_equal(log_cursor_open(&c, dir_of(state), "a.log"), 0);
	AUTO_FREE char *text = read_all(&c);
	assert_string_equal(text,
			    "mvm: output is dropped from here on: this log takes 1 MiB a second\n"
			    "mvm: 9 bytes of output were dropped\nback\n");
	log_cursor_done(&c);
	logfile_close(&l);
}

static void a_tail_begins_with_a_line(void **state)
{
	struct logfile l;

	assert_int_equal(log_in(&l, dir_of(state), "a.log", 0), 0);
	for (int i = 1000; i < 1200; i++) {
		char line[32];
		snprintf(line, sizeof(line), "line %d\n", i);
		add(&l, line);
	}
	const char *tail = logfile_tail(&l);
	assert_memory_equal(tail, "line 1", 6);
	assert_non_null(strstr(tail, "line 1199"));
	logfile_close(&l);
}

static void times_are_parsed_in_the_usual_forms(void **state)
{
	(void)state;
	char text[LOGFILE_TIME_SIZE] = "";
	struct mvm_error err;

	assert_int_equal(logfile_parse_since("2026-01-31T13:00:00+01:00", text, &err), 0);
	assert_string_equal(text, "2026-01-31T12:00:00.000000000Z");
	assert_int_equal(logfile_parse_since("10m", text, &err), 0);
	assert_true(strcmp(text, "2026") > 0);
	assert_int_equal(logfile_parse_since("teatime", text, &err), -EINVAL);
	assert_non_null(strstr(err.text, "'teatime' is no time"));
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SCRATCH(added_lines_are_read_back),
		IN_SCRATCH(a_log_stays_within_twice_its_limit_and_loses_only_its_beginning),
		IN_SCRATCH(a_reader_that_keeps_up_misses_nothing_in_a_rotation),
		IN_SCRATCH(a_log_is_never_written_through_another_name),
		IN_SCRATCH(long_lines_come_in_parts_and_foreign_files_as_they_are),
		IN_SCRATCH(a_missing_log_is_empty),
		IN_SCRATCH(newlines_take_four_bytes_each),
		IN_SCRATCH(each_file_begins_with_a_time),
		IN_SCRATCH(a_flood_is_cut_and_dropped_bytes_are_counted),
		IN_SCRATCH(the_log_continues_after_a_flood),
		IN_SCRATCH(a_tail_begins_with_a_line),
		cmocka_unit_test(times_are_parsed_in_the_usual_forms),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
