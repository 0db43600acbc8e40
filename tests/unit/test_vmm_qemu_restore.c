/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of a restore on QEMU, which a child plays: all that can be done before QEMU answers is
 * done before, and the device state is loaded only when QEMU has lost the host's files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/sock.h"
#include "vmm/qemu/qemu.h"

#define PATIENCE_MS 100000

/* What both processes see. */
struct seen {
	_Atomic bool net_sealed, sealed;
};

struct keeper {
	struct seen *seen;
	int go_fd; /* a byte: mvm-net is sealed */
	pid_t pid;
};

/* ---- QEMU ---- */

static void tell(int fd, const char *text)
{
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		_exit(10);
}

/* Read until the text has come: it is all of what is said. */
static void hear(int fd, const char *text, int failure)
{
	char got[512] = "";
	size_t len = 0;
	while (len < strlen(text)) {
		ssize_t n = recv(fd, got + len, strlen(text) - len, 0);
		if (n <= 0)
			_exit(failure);
		len += (size_t)n;
	}
	if (memcmp(got, text, len) != 0)
		_exit(failure);
}

static _Noreturn void play_qemu(int fd, int go_fd, const struct seen *seen)
{
	char state[128], byte;
	hear(fd, "{\"execute\":\"qmp_capabilities\",\"id\":1}", 2);
	hear(fd,
	     "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
	     "[{\"capability\":\"x-ignore-shared\",\"state\":true}]},\"id\":2}",
	     3);
	if (read(go_fd, &byte, 1) != 1)
		_exit(4); /* mvm-net waits for QEMU */
	tell(fd, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
	tell(fd, "{\"return\": {}, \"id\": 1}\r\n{\"return\": {}, \"id\": 2}\r\n");
	snprintf(state, sizeof(state),
		 "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:%d\"},\"id\":3}",
		 QEMU_FD_STATE);
	hear(fd, state, 5);
	if (!seen->sealed)
		_exit(6);
	hear(fd, "{\"execute\":\"cont\",\"id\":4}", 7);
	tell(fd, "{\"return\": {}, \"id\": 3}\r\n{\"return\": {}, \"id\": 4}\r\n"
		 "{\"timestamp\": {}, \"event\": \"RESUME\"}\r\n");
	_exit(recv(fd, &byte, 1, 0) == 0 ? 0 : 8);
}

/* ---- the keeper ---- */

static int seal(void *arg, struct mvm_error *err)
{
	struct keeper *k = arg;
	(void)err;
	assert_true(k->seen->net_sealed);
	k->seen->sealed = true;
	return 0;
}

static int seal_network(void *arg, struct mvm_error *err)
{
	struct keeper *k = arg;
	(void)err;
	k->seen->net_sealed = true;
	return write(k->go_fd, "", 1) == 1 ? 0 : -errno;
}

static int reap(void *arg, int *ret_status)
{
	struct keeper *k = arg;
	return waitpid(k->pid, ret_status, WNOHANG) == k->pid ? 0 : -ETIMEDOUT;
}

static void end(void *arg)
{
	(void)arg;
}

static void ready_to_restore(struct vmm_ends *ends, struct keeper *k)
{
	int control[2], words[2], net[2], go[2];
	assert_int_equal(sock_pair(control), 0);
	assert_int_equal(pipe2(words, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, net), 0);
	k->pid = fork();
	assert_true(k->pid >= 0);
	if (k->pid == 0) {
		alarm(PATIENCE_MS / 1000);
		close(control[0]);
		close(go[1]);
		play_qemu(control[1], go[0], k->seen);
	}
	close(control[1]);
	close(words[1]);
	close(go[0]);
	k->go_fd = go[1];
	static const char ready[] = "{\"ready\": true}";
	assert_int_equal(send(net[1], ready, strlen(ready), 0), strlen(ready));
	*ends = (struct vmm_ends){
		.fd = { [VMM_END_CONTROL] = control[0],
			[VMM_END_WORDS] = words[0],
			[VMM_END_PROCESS] = (int)syscall(SYS_pidfd_open, k->pid, 0),
			[VMM_END_NETWORK] = net[0] },
		.pid = k->pid,
	};
	/* mvm-net's other end stays open: it has not ended */
}

static void a_restore_waits_for_nothing_that_it_need_not(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };
	struct vmm_ends ends;
	struct vmm *v = NULL;
	AUTO(loop) loop = NULL;
	struct keeper k = { 0 };
	int status = -1;
	k.seen = mmap(NULL, sizeof(*k.seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_true(k.seen != MAP_FAILED);
	assert_int_equal(loop_new(&loop), 0);
	ready_to_restore(&ends, &k);
	const struct vmm_config config = { .name = "x",
					   .network = true,
					   .memory = VMM_MEMORY_CLONE,
					   .restores = true,
					   .log_fd = -1 };
	const struct vmm_keeper keeper = {
		.seal = seal, .seal_network = seal_network, .reap = reap, .end = end, .arg = &k
	};
	int64_t deadline_ns = clock_deadline_ns(PATIENCE_MS);
	int r = vmm_attach(&vmm_qemu, &config, &ends, &keeper, loop, deadline_ns, &v, &err);
	if (r == 0)
		r = vmm_restore(v, -1, deadline_ns, &err);
	if (r < 0)
		print_message("%s\n", err.text);
	vmm_free(v);
	close(k.go_fd);
	assert_int_equal(waitpid(k.pid, &status, 0), k.pid);
	assert_int_equal(status, 0);
	assert_int_equal(r, 0);
	munmap(k.seen, sizeof(*k.seen));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_restore_waits_for_nothing_that_it_need_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
