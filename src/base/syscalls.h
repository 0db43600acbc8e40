/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SYSCALLS_H
#define BASE_SYSCALLS_H

/*
 * An allow-list of system calls as a seccomp filter.
 *
 * The caller gives the list.  The filter also checks the arguments of some calls on it.  The
 * process can make threads, if any, but no processes.  It can signal only itself, and open only
 * internet sockets.  It can control descriptors only in known ways, and cannot clear its
 * parent-death signal. A refused call fails with ENOSYS, as on an older kernel; refused arguments
 * fail with EPERM.
 *
 * Source: seccomp(2).  x86_64 only, like the backends.
 */

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

enum syscalls_flags {
	SYSCALLS_NETWORK = 1u << 0,   /* allow internet sockets */
	SYSCALLS_KVM = 1u << 1,	      /* allow KVM's ioctls */
	SYSCALLS_ACCEPT = 1u << 2,    /* allow accept4() on a socket that is there already */
	SYSCALLS_READ_ONLY = 1u << 3, /* openat() only opens existing files for reading */
};

/* Does a process of mvm put a filter on itself?  Sanitizers make system calls of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SYSCALLS_FILTER_SELF 0
#else
#define SYSCALLS_FILTER_SELF 1
#endif

#define SYSCALLS_LIST_MAX   240u /* the reach of one jump */
#define SYSCALLS_FILTER_MAX 512u

/* Make the filter for a process.  self: its pid in its own PID namespace.  Pure.  Returns the
 * filter's length. */
size_t syscalls_filter(const uint16_t *allowed, size_t n, unsigned flags, uint32_t self,
		       struct sock_filter ret[SYSCALLS_FILTER_MAX]);

/* Put the filter on this thread and everything that it starts, with PR_SET_NO_NEW_PRIVS.  Makes
 * only system calls.  Returns 0 or -errno. */
int syscalls_enter(const uint16_t *allowed, size_t n, unsigned flags);

#endif
