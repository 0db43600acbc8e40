/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

/* These replace functions of libc, whose declarations have attributes that ours need not repeat. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define FIRST_FD   (1 << 20) /* the kernel gives no process so many */
#define FDS	   48u
#define PIPE_BYTES 65536u

/* One direction.  Free while it has neither readers nor writers. */
struct pipe {
	unsigned readers, writers;
	size_t at, len;
	char data[PIPE_BYTES];
};

/* An open file description.  Free without references. */
struct file {
	unsigned refs;
	struct pipe *in, *out;
	bool ready;
};

struct watch {
	struct file *file; /* NULL: free */
	int fd;
	struct epoll_event wanted;
};

static struct pipe pipes[FDS];
static struct file files[FDS];
static struct file *fds[FDS];
static struct watch watches[FDS]; /* of the one epoll */
static bool idle;

ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __real_send(int fd, const void *buf, size_t n, int flags);
ssize_t __real_recv(int fd, void *buf, size_t n, int flags);
int __real_close(int fd);
int __real_fcntl64(int fd, int cmd, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __real_open64(const char *path, int flags, ...);

static int fail(int error)
{
	errno = error;
	return -1;
}

static struct file *find(int fd)
{
	return fd >= FIRST_FD && (unsigned)fd < FIRST_FD + FDS ? fds[fd - FIRST_FD] : NULL;
}

static int add_fd(struct file *f)
{
	for (unsigned i = 0; i < FDS; i++) {
		if (fds[i])
			continue;
		fds[i] = f;
		f->refs++;
		return FIRST_FD + (int)i;
	}
	abort();
}

static struct pipe *new_pipe(void)
{
	for (unsigned i = 0; i < FDS; i++) {
		struct pipe *p = &pipes[i];
		if (p->readers || p->writers)
			continue;
		p->readers = p->writers = 1;
		p->at = p->len = 0;
		return p;
	}
	abort();
}

static int new_fd(struct pipe *in, struct pipe *out)
{
	for (unsigned i = 0; i < FDS; i++) {
		if (files[i].refs)
			continue;
		files[i] = (struct file){ .in = in, .out = out };
		return add_fd(&files[i]);
	}
	abort();
}

int fake_files_ready(void)
{
	int fd = new_fd(NULL, NULL);
	find(fd)->ready = true;
	return fd;
}

unsigned fake_files_count(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < FDS; i++)
		n += fds[i] != NULL;
	return n;
}

bool fake_files_idle(void)
{
	return idle;
}

int __wrap_pipe2(int ret[2], int flags)
{
	struct pipe *p = new_pipe();
	(void)flags;
	ret[0] = new_fd(p, NULL);
	ret[1] = new_fd(NULL, p);
	return 0;
}

int __wrap_socketpair(int domain, int type, int protocol, int ret[2])
{
	struct pipe *here = new_pipe(), *there = new_pipe();
	(void)domain;
	(void)type;
	(void)protocol;
	ret[0] = new_fd(here, there);
	ret[1] = new_fd(there, here);
	return 0;
}

int __wrap_close(int fd)
{
	struct file *f = find(fd);
	if (!f)
		return __real_close(fd);
	fds[fd - FIRST_FD] = NULL;
	if (--f->refs > 0)
		return 0;
	if (f->in)
		f->in->readers--;
	if (f->out)
		f->out->writers--;
	for (unsigned i = 0; i < FDS; i++) {
		if (watches[i].file == f)
			watches[i].file = NULL;
	}
	return 0;
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
	struct file *f = find(fd);
	if (!f)
		return __real_read(fd, buf, n);
	struct pipe *p = f->in;
	if (!p)
		return fail(EBADF);
	if (p->len == 0)
		return p->writers ? fail(EAGAIN) : 0;
	n = n < p->len ? n : p->len;
	memcpy(buf, p->data + p->at, n);
	p->at += n;
	p->len -= n;
	return (ssize_t)n;
}

/* read() of a buffer whose size the compiler knows */
ssize_t __wrap___read_chk(int fd, void *buf, size_t n, size_t size)
{
	assert(n <= size);
	return __wrap_read(fd, buf, n);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	struct file *f = find(fd);
	if (!f)
		return __real_write(fd, buf, n);
	struct pipe *p = f->out;
	if (!p)
		return fail(EBADF);
	if (p->readers == 0)
		return fail(EPIPE);
	if (p->len == PIPE_BYTES)
		return fail(EAGAIN);
	if (p->at + p->len + n > PIPE_BYTES) {
		memmove(p->data, p->data + p->at, p->len);
		p->at = 0;
	}
	n = n < PIPE_BYTES - p->len ? n : PIPE_BYTES - p->len;
	memcpy(p->data + p->at + p->len, buf, n);
	p->len += n;
	return (ssize_t)n;
}

ssize_t __wrap_send(int fd, const void *buf, size_t n, int flags)
{
	return find(fd) ? __wrap_write(fd, buf, n) : __real_send(fd, buf, n, flags);
}

ssize_t __wrap_recv(int fd, void *buf, size_t n, int flags)
{
	return find(fd) ? __wrap_read(fd, buf, n) : __real_recv(fd, buf, n, flags);
}

ssize_t __wrap___recv_chk(int fd, void *buf, size_t n, size_t size, int flags)
{
	assert(n <= size);
	return __wrap_recv(fd, buf, n, flags);
}

int __wrap_fcntl64(int fd, int cmd, ...)
{
	struct file *f = find(fd);
	va_list args;
	va_start(args, cmd);
	long arg = va_arg(args, long);
	va_end(args);
	if (!f)
		return __real_fcntl64(fd, cmd, arg);
	if (cmd == F_DUPFD_CLOEXEC)
		return add_fd(f);
	return cmd == F_SETFL ? 0 : fail(EINVAL); /* nothing blocks */
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct file *f = find(fd);
	va_list args;
	va_start(args, request);
	void *arg = va_arg(args, void *);
	va_end(args);
	if (!f)
		return __real_ioctl(fd, request, arg);
	if (request != FIONREAD || !f->in)
		return fail(ENOTTY);
	*(int *)arg = (int)f->in->len;
	return 0;
}

/* /dev/null, which each command gets, costs as much as everything else. */
int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	int mode = va_arg(args, int);
	va_end(args);
	return strcmp(path, "/dev/null") == 0 ? new_fd(NULL, NULL)
					      : __real_open64(path, flags, mode);
}

int __wrap_uname(struct utsname *ret)
{
	*ret = (struct utsname){ .sysname = "Linux", .nodename = "guest", .release = "6.1.0" };
	return 0;
}

/* ---- epoll ---- */

int __wrap_epoll_create1(int flags)
{
	(void)flags;
	return new_fd(NULL, NULL);
}

static struct watch *watch_of(int fd, const struct file *f)
{
	for (unsigned i = 0; i < FDS; i++) {
		if (watches[i].file == f && (!f || watches[i].fd == fd))
			return &watches[i];
	}
	return NULL;
}

int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	struct file *f = find(fd);
	(void)epoll_fd;
	if (!f)
		return fail(EBADF);
	if (!f->in && !f->out && !f->ready) /* as for /dev/null */
		return fail(EPERM);
	struct watch *w = watch_of(fd, f);
	if (op == EPOLL_CTL_ADD && w)
		return fail(EEXIST);
	if (op != EPOLL_CTL_ADD && !w)
		return fail(ENOENT);
	if (op == EPOLL_CTL_ADD) {
		w = watch_of(-1, NULL);
		assert(w);
	}
	w->file = op == EPOLL_CTL_DEL ? NULL : f;
	w->fd = fd;
	if (event)
		w->wanted = *event;
	return 0;
}

static uint32_t events_of(const struct file *f)
{
	uint32_t events = f->ready ? EPOLLIN : 0;
	if (f->in && (f->in->len > 0 || (f->out && f->in->writers == 0)))
		events |= EPOLLIN;
	if (f->in && f->in->writers == 0)
		events |= EPOLLHUP;
	if (f->out && (f->out->len < PIPE_BYTES || f->out->readers == 0))
		events |= EPOLLOUT;
	if (f->out && !f->in && f->out->readers == 0)
		events |= EPOLLERR;
	return events;
}

int __wrap_epoll_wait(int epoll_fd, struct epoll_event *ret, int max, int timeout_ms)
{
	int n = 0;
	(void)epoll_fd;
	for (unsigned i = 0; i < FDS && n < max; i++) {
		struct watch *w = &watches[i];
		if (!w->file)
			continue;
		uint32_t events = events_of(w->file) & (w->wanted.events | EPOLLERR | EPOLLHUP);
		if (events)
			ret[n++] = (struct epoll_event){ .events = events, .data = w->wanted.data };
	}
	assert(n > 0 || timeout_ms >= 0); /* it would wait for ever */
	idle = n == 0;
	return n;
}
