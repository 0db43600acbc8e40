/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vmm/words.h"

/* Returns the end for the process. */
static int take_pipe(struct words *w)
{
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(words_take(w, fds[0], -1), 0);
	return fds[1];
}

/* Reading until the end would never return. */
static void an_endless_sender_is_read_a_piece_at_a_time(void **state)
{
	(void)state;
	struct words w = WORDS_NONE;
	w.fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_true(w.fd >= 0);
	words_read(&w);
	assert_true(w.fd >= 0);
	assert_int_equal(w.tail.len, WORDS_MAX);
	words_done(&w);
}

/* Once the writer has hung up, a pipe of any size is read completely. */
static void a_full_pipe_is_read_whole_and_its_end_kept(void **state)
{
	(void)state;
	struct words w = WORDS_NONE;
	struct mvm_error err = { 0 };
	char page[4096];
	int to = take_pipe(&w);
	memset(page, 'x', sizeof(page));
	fcntl(to, F_SETPIPE_SZ, 1 << 20); /* if this fails, the pipe is smaller */
	assert_int_equal(fcntl(to, F_SETFL, O_NONBLOCK), 0);
	while (write(to, page, sizeof(page)) == (ssize_t)sizeof(page))
		;
	assert_int_equal(errno, EAGAIN);
	close(to);
	words_read(&w);
	char byte;
	if (w.fd >= 0) /* this reads the end of the pipe */
		assert_int_equal(read(w.fd, &byte, 1), 0);
	assert_int_equal(w.tail.len, WORDS_MAX);
	assert_int_equal(words_explain(&w, "it", "", 9, &err), -EREMOTEIO);
	assert_memory_equal(err.text, "it was killed by signal 9: xxx", 30);
	words_done(&w);
}

static void the_words_are_on_one_line_without_their_prefix(void **state)
{
	(void)state;
	struct words w = WORDS_NONE;
	struct mvm_error err = { 0 };
	int to = take_pipe(&w);
	assert_int_equal(write(to, "vmm: one\r\n\nvmm: two\nthree", 26), 26);
	close(to);
	words_read(&w);
	assert_int_equal(words_explain(&w, "it", "vmm: ", 3 << 8, &err), -EREMOTEIO);
	assert_string_equal(err.text, "it ended with status 3: one; two; three");
	words_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_endless_sender_is_read_a_piece_at_a_time),
		cmocka_unit_test(a_full_pipe_is_read_whole_and_its_end_kept),
		cmocka_unit_test(the_words_are_on_one_line_without_their_prefix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
