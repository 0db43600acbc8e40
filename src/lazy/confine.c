/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/landlock.h"
#include "base/nobody.h"
#include "base/own.h"
#include "base/rlimit.h"
#include "base/syscalls.h"
#include "lazy/lazy.h"

/* of address space; its map takes 32 MiB of it for each TiB of files */
#define MEMORY_BYTES ((uint64_t)1 << 30)

/* It reads files and /dev/fuse, writes to /dev/fuse and sockets, and needs memory. */
static const uint16_t calls[] = {
	SYS_read,	    SYS_readv,	      SYS_pread64,
	SYS_write,	    SYS_writev,	      SYS_recvfrom,
	SYS_sendto,	    SYS_poll,	      SYS_ppoll,
	SYS_close,	    SYS_fstat,	      SYS_newfstatat, /* what fstat(3) calls */
	SYS_clock_gettime,  SYS_brk,	      SYS_mmap,
	SYS_munmap,	    SYS_mremap,	      SYS_mprotect,
	SYS_madvise,	    SYS_futex,	      SYS_getpid,
	SYS_gettid,	    SYS_tgkill,	      SYS_rt_sigaction,
	SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_restart_syscall,
	SYS_exit,	    SYS_exit_group,
};

int lazy_confine(struct mvm_error *err)
{
	const struct rlimit_most limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_MSGQUEUE, 0 },
		{ RLIMIT_NPROC, 0 },
		{ RLIMIT_FSIZE, 0 },
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they reserve terabytes */
		{ RLIMIT_AS, MEMORY_BYTES },
#endif
	};

	mlockall(MCL_CURRENT); /* a VM waits for us: without it only longer */
	int r = rlimit_lower_all(limits, MVM_ARRAY_SIZE(limits));
	if (r == 0)
		r = nobody_become();
	if (r == 0 && landlock_version() > 0) {
		AUTO_CLOSE int rules_fd = landlock_open(false);
		r = rules_fd < 0 ? rules_fd : landlock_enter(rules_fd);
	}
	if (r == 0 && SYSCALLS_FILTER_SELF)
		r = syscalls_enter(calls, MVM_ARRAY_SIZE(calls), 0);
	return r < 0 ? mvm_error_set(err, r, "cannot shut mvm-lazy in: %s", strerror(-r)) : 0;
}
