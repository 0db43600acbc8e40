/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_WALLS_H
#define VMM_WALLS_H

/*
 * What a process that a guest may have taken over may open, use up and ask of the kernel, from
 * before it is that program: Landlock, limits, and a list of system calls.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

/* Limits of every process behind walls, for a list of struct rlimit_most. */
#define WALLS_SIGNALS_MAX 64u
#define WALLS_RLIMITS                                                                              \
	{ RLIMIT_CORE, 0 }, { RLIMIT_MEMLOCK, 0 }, { RLIMIT_MSGQUEUE, 0 }, { RLIMIT_RTPRIO, 0 },   \
		{ RLIMIT_NICE, 0 },                                                                \
	{                                                                                          \
		RLIMIT_SIGPENDING, WALLS_SIGNALS_MAX                                               \
	}

struct walls {
	const char *binary;	   /* the program; its libraries lie in lib beside its bin */
	bool network;		   /* it makes sockets of the internet */
	bool kvm;		   /* it opens /dev/kvm */
	uint64_t files_max;	   /* descriptors */
	uint64_t file_max_bytes;   /* no file that it writes may be longer */
	uint64_t threads_max;	   /* 0: not counted, because others count there too */
	uint64_t memory_max_bytes; /* its address space; 0: no limit */
	/* Further rules for Landlock, by landlock_allow().  May be NULL. */
	int (*allow)(void *arg, int rules_fd);
	void *arg;
	int fd_above; /* descriptors up to it have a meaning: ours lie above */
};

/* What of enum vmm_isolation this host has of that. */
unsigned walls_there_are(void);

/* For whoever has to look at a VMM with a debugger, or runs another program in its place:
 * MVM_ISOLATION=off. */
bool walls_are_off(void);

/* Does the kernel count a user's processes for each user namespace, so that threads_max holds in a
 * new one?  It does since Linux 5.14, which also brought memfd_secret(2). */
bool walls_count_threads(void);

/* In the child, last before exec: files and resources, as isolation has it.  Only system calls.
 * Returns 0 or -errno. */
int walls_limit(const struct walls *w, unsigned isolation);

/* And then the system calls. */
int walls_filter(const struct walls *w);

#endif
