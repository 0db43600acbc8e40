/* SPDX-License-Identifier: Apache-2.0 */
/* Pushes to a registry that stops answering.  The clock stands still until the registry
 * is silent.  Then each look at it is a minute and more after the last one. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/own.h"
#include "registry/upload.h"

#define BLOB_BYTES ((size_t)16 << 20) /* more than sockets hold */
#define LOOK_NS	   (70 * NS_PER_S)

int64_t __wrap_clock_now_ns(void);
void __wrap_client_sleep(int64_t until_ns);

static unsigned pauses; /* between two tries */

static struct shared {
	_Atomic bool silent; /* the registry, from now on */
} * shared;

int64_t __wrap_clock_now_ns(void)
{
	static int64_t now_ns = NS_PER_S;
	if (shared->silent)
		now_ns += LOOK_NS;
	return now_ns;
}

void __wrap_client_sleep(int64_t until_ns)
{
	(void)until_ns;
	shared->silent = false; /* the next try has a connection of its own */
	pauses++;
}

static void say(int fd, const char *text)
{
	if (file_write_all(fd, text, strlen(text)) < 0)
		_exit(1);
}

/* Read to the end of a request's head. */
static void swallow_head(int fd)
{
	char c, last[4] = "";
	while (memcmp(last, "\r\n\r\n", 4) != 0 && read(fd, &c, 1) == 1) {
		memmove(last, last + 1, 3);
		last[3] = c;
	}
}

static void swallow_blob(int fd)
{
	static char many[65536];
	ssize_t n;
	for (size_t got = 0; got < BLOB_BYTES; got += (size_t)n) {
		n = read(fd, many, sizeof(many));
		if (n <= 0)
			_exit(1);
	}
}

static void serve(int fd, bool reads_body)
{
	char method[4] = "";
	while (read(fd, method, 3) == 3) {
		swallow_head(fd);
		if (strcmp(method, "PUT") == 0) {
			if (reads_body)
				swallow_blob(fd);
			shared->silent = true;
			pause();
		}
		say(fd, "HTTP/1.1 202 Accepted\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n");
	}
}

static pid_t start_registry(bool reads_body, char base[32])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 8) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	snprintf(base, 32, "http://127.0.0.1:%u", ntohs(at.sin_port));
	pid_t pid = fork();
	if (pid == 0) {
		/* what runs the test waits for all that hold its output */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGCHLD, SIG_IGN);
		for (;;) {
			int got = accept(fd, NULL, NULL);
			if (got >= 0 && fork() == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				serve(got, reads_body);
				_exit(0);
			}
			close(got);
		}
	}
	close(fd);
	return pid;
}

/* Push a blob, which must fail in this way after so many tries. */
static void expect(bool reads_body, unsigned tries, const char *message)
{
	AUTO_DONE(client) c = { 0 };
	struct mvm_error err = { 0 };
	char base[32];
	pauses = 0;
	shared->silent = false;
	pid_t pid = start_registry(reads_body, base);
	AUTO_CLOSE int fd = memfd_create("blob", MFD_CLOEXEC);
	assert_true(fd >= 0 && ftruncate(fd, BLOB_BYTES) == 0);
	c.target.base = strdup(base);
	c.target.host = strdup("reg.example");
	c.target.path = strdup("web");
	assert_int_equal(client_init(&c, &err), 0);
	assert_int_equal(upload_blob(&c, "sha256:0", fd, BLOB_BYTES, &err), -EREMOTEIO);
	if (!strstr(err.text, message))
		fail_msg("%s", err.text);
	assert_int_equal(pauses + 1, tries);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void a_registry_that_is_silent_about_a_whole_blob_is_not_asked_again(void **state)
{
	(void)state;
	expect(true, 1, "the registry has all bytes and does not answer");
}

static void a_registry_that_takes_no_bytes_is_a_lost_connection(void **state)
{
	(void)state;
	expect(false, 5, "the registry takes no more bytes");
}

int main(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_registry_that_is_silent_about_a_whole_blob_is_not_asked_again),
		cmocka_unit_test(a_registry_that_takes_no_bytes_is_a_lost_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
