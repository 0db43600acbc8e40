/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A library to preload into a program.  It counts the program's calls that change the file system,
 * and makes one of them fail or kills the process there.  For tests only.
 *
 *   MVM_FAULT_LOG=FILE   append "<number> <call>" for every such call
 *   MVM_FAULT_AT=N       the call to act at, from 1
 *   MVM_FAULT_DO=WHAT    kill-before, kill-after, kill-half (a write cut in two);
 *                        stop (SIGSTOP before it); EIO (this call fails); ENOSPC (from this call
 *                        on, whatever needs room); no-links (from this call on, hard links)
 *
 * Only writes to regular files count, and only opens that create or truncate a file.
 */

/* Both spellings of 64-bit calls are defined here, and none through a macro. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* These replace functions of libc, whose declarations have attributes that ours need not repeat. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wredundant-decls"

static unsigned count;
static unsigned fault_at;
static const char *fault_do;
static int log_fd = -1;

__attribute__((constructor)) static void start(void)
{
	const char *at = getenv("MVM_FAULT_AT"), *file = getenv("MVM_FAULT_LOG");
	fault_at = at ? (unsigned)strtoul(at, NULL, 10) : 0;
	fault_do = getenv("MVM_FAULT_DO");
	if (!fault_do)
		fault_do = "";
	if (file)
		log_fd = (int)syscall(SYS_openat, AT_FDCWD, file,
				      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void die(void)
{
	syscall(SYS_tgkill, getpid(), getpid(), SIGKILL); /* which mvm-registry may call, too */
}

enum {
	NEEDS_ROOM = 1,
};

/* Count a call.  Returns the error that it must fail with, or 0. */
static int enter(const char *name, unsigned flags)
{
	char line[64];
	count++;
	if (log_fd >= 0) {
		int n = snprintf(line, sizeof(line), "%u %s\n", count, name);
		syscall(SYS_write, log_fd, line, (size_t)n);
	}
	if (!fault_at || count < fault_at)
		return 0;
	if (strcmp(fault_do, "ENOSPC") == 0)
		return flags & NEEDS_ROOM ? ENOSPC : 0;
	if (strcmp(fault_do, "no-links") == 0)
		return strcmp(name, "link") == 0 || strcmp(name, "linkat") == 0 ? EMLINK : 0;
	if (count != fault_at)
		return 0;
	if (strcmp(fault_do, "kill-before") == 0)
		die();
	if (strcmp(fault_do, "stop") == 0)
		syscall(SYS_kill, getpid(), SIGSTOP);
	return strcmp(fault_do, "EIO") == 0 ? EIO : 0;
}

static void leave(void)
{
	int saved = errno;
	if (fault_at && count == fault_at && strcmp(fault_do, "kill-after") == 0)
		die();
	errno = saved;
}

static bool cuts_here(void)
{
	return fault_at && count == fault_at && strcmp(fault_do, "kill-half") == 0;
}

/* What exists takes none. */
static unsigned needs_room(int dir_fd, const char *path)
{
	struct stat st;
	return fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : NEEDS_ROOM;
}

/* The build hides unmarked functions; these must be visible. */
#pragma GCC visibility push(default)

/* Wrap a call: count it, fail or make the real call, and perhaps die. */
#define WRAP(type, name, flags, params, args)                                                      \
	type name params                                                                           \
	{                                                                                          \
		static type(*real) params;                                                         \
		if (!real)                                                                         \
			*(void **)&real = dlsym(RTLD_NEXT, #name);                                 \
		int error = enter(#name, flags);                                                   \
		if (error) {                                                                       \
			errno = error;                                                             \
			return -1;                                                                 \
		}                                                                                  \
		type r = real args;                                                                \
		leave();                                                                           \
		return r;                                                                          \
	}

WRAP(int, rename, NEEDS_ROOM, (const char *a, const char *b), (a, b))
WRAP(int, renameat, NEEDS_ROOM, (int x, const char *a, int y, const char *b), (x, a, y, b))
WRAP(int, renameat2, NEEDS_ROOM, (int x, const char *a, int y, const char *b, unsigned f),
     (x, a, y, b, f))
WRAP(int, link, NEEDS_ROOM, (const char *a, const char *b), (a, b))
WRAP(int, linkat, NEEDS_ROOM, (int x, const char *a, int y, const char *b, int f), (x, a, y, b, f))
WRAP(int, symlink, NEEDS_ROOM, (const char *a, const char *b), (a, b))
WRAP(int, symlinkat, NEEDS_ROOM, (const char *a, int y, const char *b), (a, y, b))
WRAP(int, unlink, 0, (const char *a), (a))
WRAP(int, unlinkat, 0, (int x, const char *a, int f), (x, a, f))
WRAP(int, rmdir, 0, (const char *a), (a))
WRAP(int, mkdir, needs_room(AT_FDCWD, a), (const char *a, mode_t m), (a, m))
WRAP(int, mkdirat, needs_room(x, a), (int x, const char *a, mode_t m), (x, a, m))
WRAP(int, ftruncate, NEEDS_ROOM, (int fd, off_t n), (fd, n))
WRAP(int, ftruncate64, NEEDS_ROOM, (int fd, off64_t n), (fd, n))
WRAP(int, fallocate, NEEDS_ROOM, (int fd, int m, off_t a, off_t n), (fd, m, a, n))
WRAP(int, fallocate64, NEEDS_ROOM, (int fd, int m, off64_t a, off64_t n), (fd, m, a, n))
WRAP(int, fsync, NEEDS_ROOM, (int fd), (fd))
WRAP(int, fdatasync, NEEDS_ROOM, (int fd), (fd))
WRAP(int, chmod, 0, (const char *a, mode_t m), (a, m))
WRAP(int, fchmod, 0, (int fd, mode_t m), (fd, m))
WRAP(int, fchmodat, 0, (int x, const char *a, mode_t m, int f), (x, a, m, f))
WRAP(int, futimens, 0, (int fd, const struct timespec t[2]), (fd, t))
WRAP(int, utimensat, 0, (int x, const char *a, const struct timespec t[2], int f), (x, a, t, f))
WRAP(ssize_t, copy_file_range, NEEDS_ROOM,
     (int x, off64_t *a, int y, off64_t *b, size_t n, unsigned f), (x, a, y, b, n, f))

static bool is_file(int fd)
{
	struct stat st;
	int saved = errno;
	bool yes = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	errno = saved;
	return yes;
}

/* Wrap a write.  Writes to terminals, pipes and sockets do not count. */
#define WRAP_WRITE(name, half, params, args)                                                       \
	ssize_t name params                                                                        \
	{                                                                                          \
		static ssize_t(*real) params;                                                      \
		if (!real)                                                                         \
			*(void **)&real = dlsym(RTLD_NEXT, #name);                                 \
		if (!is_file(fd))                                                                  \
			return real args;                                                          \
		int error = enter(#name, NEEDS_ROOM);                                              \
		if (error) {                                                                       \
			errno = error;                                                             \
			return -1;                                                                 \
		}                                                                                  \
		if (cuts_here()) {                                                                 \
			(void)!real half;                                                          \
			die();                                                                     \
		}                                                                                  \
		ssize_t r = real args;                                                             \
		leave();                                                                           \
		return r;                                                                          \
	}

WRAP_WRITE(write, (fd, p, n / 2), (int fd, const void *p, size_t n), (fd, p, n))
WRAP_WRITE(pwrite, (fd, p, n / 2, at), (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
WRAP_WRITE(pwrite64, (fd, p, n / 2, at), (int fd, const void *p, size_t n, off64_t at),
	   (fd, p, n, at))

/* Opens count if they create or truncate a file. */
static int open_counted(int dir_fd, const char *path, int flags, mode_t mode)
{
	bool changes = flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE;
	int error = changes ? enter("open", needs_room(dir_fd, path)) : 0;
	if (error) {
		errno = error;
		return -1;
	}
	int r = (int)syscall(SYS_openat, dir_fd, path, flags | O_LARGEFILE, mode);
	if (changes)
		leave();
	return r;
}

static mode_t mode_of(int flags, va_list ap)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

int openat(int dir_fd, const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return open_counted(dir_fd, path, flags, mode);
}

int openat64(int dir_fd, const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return open_counted(dir_fd, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return open_counted(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return open_counted(AT_FDCWD, path, flags, mode);
}
