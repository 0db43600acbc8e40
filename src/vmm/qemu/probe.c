/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/accel.h"
#include "vmm/qemu/qemu.h"

#define VERSION_TEXT_MAX   4096u
#define VERSION_TIMEOUT_MS 10000

const char *qemu_version_of(const char *text, size_t *ret_len)
{
	static const char before[] = "QEMU emulator version ";
	if (!str_starts(text, before))
		return NULL;
	const char *version = text + strlen(before);
	*ret_len = strcspn(version, "\r\n");
	return *ret_len ? version : NULL;
}

/* Everything that comes out of the pipe before its end, up to a limit and a deadline. */
static int read_all(int fd, int64_t deadline_ns, char ret[VERSION_TEXT_MAX])
{
	size_t len = 0;
	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		int n = poll(&pfd, 1, clock_remaining_ms(deadline_ns));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ETIMEDOUT;
		ssize_t got = read(fd, ret + len, VERSION_TEXT_MAX - 1 - len);
		if (got < 0)
			return -errno;
		len += (size_t)got;
		if (got == 0 || len == VERSION_TEXT_MAX - 1)
			break;
	}
	ret[len] = '\0';
	return 0;
}

static int ask_version(char *binary, char ret[VERSION_TEXT_MAX])
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int from = fds[0];
	AUTO_CLOSE int to = fds[1];
	AUTO_DONE(process) p = { 0 };
	struct process_spec spec = {
		.argv = (char *[]){ binary, (char[]){ "--version" }, NULL },
		.cwd_fd = AT_FDCWD,
		.stdin_fd = -1,
		.stdout_fd = to,
		.stderr_fd = to,
		.flags = PROCESS_DIE_WITH_PARENT,
	};
	int r = process_spawn(&spec, &p);
	if (r < 0)
		return r;
	(void)close(TAKE_FD(to)); /* the pipe ends when the program does */
	return read_all(from, clock_deadline_ns(VERSION_TIMEOUT_MS), ret);
}

static int fill_version(struct vmm_probe *p)
{
	char text[VERSION_TEXT_MAX];
	size_t len = 0;
	int r = ask_version(p->binary, text);
	if (r == -ENOMEM)
		return r;
	const char *version = r < 0 ? NULL : qemu_version_of(text, &len);
	if (version) {
		p->version = strndup(version, len);
		p->usable = p->version;
		return p->version ? 0 : -ENOMEM;
	}
	p->reason = r < 0 ? str_printf("'%s --version' failed: %s", p->binary, strerror(-r))
			  : str_printf("'%s' is no QEMU: --version says '%.*s'", p->binary,
				       (int)strcspn(text, "\n"), text);
	return p->reason ? 0 : -ENOMEM;
}

int qemu_probe(struct vmm_probe *ret, struct mvm_error *err)
{
	AUTO_DONE(vmm_probe) p = { 0 };
	const char *accel_reason = NULL, *missing = NULL;
	p.accel = vmm_accel_choose(&accel_reason);
	p.accel_reason = strdup(accel_reason);
	if (!p.accel_reason)
		return mvm_error_oom(err);

	int r = vmm_backend_binary(&vmm_qemu, &p.binary);
	if (r == -ENOMEM)
		return mvm_error_oom(err);
	if (r < 0)
		missing = "there is no " QEMU_BINARY
			  " on PATH (package qemu-system-x86), and " QEMU_BINARY_ENV " names none";
	else if (tsc_khz_find(&p.tsc_khz) < 0)
		missing = "this host's CPU is not x86_64";
	if (missing)
		p.reason = strdup(missing);
	if (missing ? !p.reason : fill_version(&p) < 0)
		return mvm_error_oom(err);
	*ret = p;
	p = (struct vmm_probe){ 0 };
	return 0;
}
