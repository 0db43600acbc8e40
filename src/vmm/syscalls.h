/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_SYSCALLS_H
#define VMM_SYSCALLS_H

/*
 * An allow-list of system calls as a seccomp filter.
 *
 * The list is the caller's.  Calls that would be harmful with some arguments are allowed with
 * others only, whatever the list says: no process but threads, no signal but to itself, no socket
 * but of the internet, no control of descriptors that is not known to be needed, no change of what
 * kills the process with its parent.  What is refused fails with ENOSYS, as on an older kernel, or,
 * where the arguments were wrong, EPERM.
 *
 * Source: seccomp(2).  x86_64 only, like the backends.
 */

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

enum syscalls_flags {
	SYSCALLS_NETWORK = 1u << 0, /* sockets of the internet */
	SYSCALLS_KVM = 1u << 1,	    /* the ioctls of KVM */
};

#define SYSCALLS_LIST_MAX   240u /* what one jump reaches */
#define SYSCALLS_FILTER_MAX 512u

/* The filter for a process whose pid, as it sees it, is self.  Pure.  Returns its length. */
size_t syscalls_filter(const uint16_t *allowed, size_t n, unsigned flags, uint32_t self,
		       struct sock_filter ret[SYSCALLS_FILTER_MAX]);

/* From now on, for this thread and what it starts.  It gets PR_SET_NO_NEW_PRIVS.  Only system
 * calls. Returns 0 or -errno. */
int syscalls_enter(const uint16_t *allowed, size_t n, unsigned flags);

#endif
