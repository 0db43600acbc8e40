/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HOSTLOAD_H
#define BASE_HOSTLOAD_H

/*
 * How busy this host is, and how much memory it has left.
 *
 * The kernel reports pressure as the share of the last ten seconds in which at least one process
 * ("some"), or every process ("full"), waited for a CPU, memory or the disk.  A kernel without
 * pressure information, or a container that hides it, leaves the load average.
 * Source: Linux Documentation/accounting/psi.rst; proc_loadavg(5); proc_meminfo(5).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hostload {
	bool has_pressure;
	double cpu, memory, io;	     /* "some", per cent */
	double memory_full, io_full; /* "full", per cent */
	double load_per_cpu;	     /* of the last minute; 0: unknown */
	int64_t cpu_waited_us;	     /* for how long, since boot, processes waited for a CPU */
};

/* The load's files, held open by a process that soon may open none. */
#define HOSTLOAD_FILES 4
struct hostload_files {
	unsigned cpus;
	int fd[HOSTLOAD_FILES]; /* -1: it cannot be read */
};
#define HOSTLOAD_FILES_NONE                                                                        \
	{                                                                                          \
		.cpus = 1, .fd = { -1, -1, -1, -1 }                                                \
	}

/* Open the files.  proc_fd: /proc. */
void hostload_open(int proc_fd, unsigned cpus, struct hostload_files *ret);
void hostload_files_done(struct hostload_files *f);

/* Read the current load.  Values that cannot be read are 0. */
void hostload_read_files(const struct hostload_files *f, struct hostload *ret);

/* Did processes wait for a CPU nearly all the time, elapsed_ns, since `before` was read? */
bool hostload_was_busy(const struct hostload *before, const struct hostload *now,
		       int64_t elapsed_ns);

/* Open the files of /proc, read the current load and close them. */
void hostload_read(struct hostload *ret);

/* Is the host so busy that a guest may be well although it does not answer in time? */
bool hostload_is_slow(const struct hostload *h);

/* Do processes wait so long for memory that more VMs would make it worse? */
bool hostload_is_short_of_memory(const struct hostload *h);

/* "processes wait for a CPU 93 %, for memory 0 %, for the disk 1 % of the time" */
#define HOSTLOAD_TEXT_SIZE 128u
void hostload_describe(const struct hostload *h, char ret[HOSTLOAD_TEXT_SIZE]);

/*
 * How many VMs may start at once: two for each CPU; one for each CPU when processes wait for CPUs
 * most of the time; one in total when they wait for memory, which more VMs would only make worse.
 */
unsigned hostload_starts_at_once(const struct hostload *h, unsigned cpus);

/* CPUs that are online; at least 1. */
unsigned hostload_cpus(void);

/* How often the kernel has killed a process for lack of memory since boot, in any cgroup.
 * Returns false when the kernel has no such counter. */
bool hostload_oom_kills(uint64_t *ret);

#endif
