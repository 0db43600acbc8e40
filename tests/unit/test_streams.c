/* SPDX-License-Identifier: Apache-2.0 */
/* Writes of a command that blocks signals, to readers that are slow or never read. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "streams.h"

#define PATIENCE_S 60
#define BIG	   ((size_t)1 << 20)
#define WORDS	   "interrupted\n"

struct peer {
	pid_t pid;
	int output;  /* what it prints */
	int started; /* ends once it is about to print */
};

static void fill(int fd)
{
	char chunk[4096] = { 0 };
	int flags = fcntl(fd, F_GETFL);
	assert_int_equal(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
	while (write(fd, chunk, sizeof(chunk)) > 0)
		;
	assert_int_equal(fcntl(fd, F_SETFL, flags), 0);
}

static void block(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	streams_heed(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static _Noreturn void print(size_t n, int started_fd)
{
	alarm(PATIENCE_S);
	block();
	close(started_fd);
	for (size_t i = 0; i < n; i++)
		fputs(WORDS, stdout);
	fputs(WORDS, stderr);
	exit(fflush(stdout) == 0 && !ferror(stderr) ? 0 : 1);
}

/* Run a program that prints n lines, and then one to standard error. */
static void start(size_t n, bool full, struct peer *ret)
{
	int output[2], started[2];
	assert_int_equal(pipe2(output, O_CLOEXEC), 0);
	assert_int_equal(pipe2(started, O_CLOEXEC), 0);
	if (full)
		fill(output[1]);
	fflush(stdout);
	*ret = (struct peer){ .pid = fork(), .output = output[0], .started = started[0] };
	assert_true(ret->pid >= 0);
	if (ret->pid == 0) {
		close(output[0]);
		close(started[0]);
		dup2(output[1], STDOUT_FILENO);
		dup2(output[1], STDERR_FILENO);
		close(output[1]);
		print(n, started[1]);
	}
	close(output[1]);
	close(started[1]);
}

static int finish(struct peer *p)
{
	int status;
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	close(p->output);
	close(p->started);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void await_start(struct peer *p)
{
	char byte;
	assert_int_equal(read(p->started, &byte, 1), 0);
}

static void a_signal_ends_a_write_that_nobody_reads(void **state)
{
	struct peer p;
	(void)state;
	start(1, true, &p);
	await_start(&p);
	kill(p.pid, SIGINT);
	assert_int_equal(finish(&p), 1);
}

static size_t read_all(int fd)
{
	char chunk[65536];
	size_t len = 0;
	for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;)
		len += (size_t)n;
	return len;
}

static void a_slow_reader_gets_everything(void **state)
{
	const size_t n = BIG / strlen(WORDS);
	struct peer p;
	(void)state;
	start(n, false, &p);
	await_start(&p);
	assert_int_equal(read_all(p.output), (n + 1) * strlen(WORDS));
	assert_int_equal(finish(&p), 0);
}

static void a_reader_gets_the_last_words(void **state)
{
	struct peer p;
	(void)state;
	start(1, false, &p);
	await_start(&p);
	kill(p.pid, SIGINT);
	assert_int_equal(read_all(p.output), 2 * strlen(WORDS));
	assert_int_equal(finish(&p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signal_ends_a_write_that_nobody_reads),
		cmocka_unit_test(a_slow_reader_gets_everything),
		cmocka_unit_test(a_reader_gets_the_last_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
