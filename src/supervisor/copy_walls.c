/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/copy_walls.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/landlock.h"
#include "base/rlimit.h"
#include "base/syscalls.h"
#include "vmm/privilege.h"
#include "vmm/walls.h"

/* Before it Landlock let nobody link or rename across folders. */
#define LANDLOCK_OF_LINKS 2

/* No execution, no process, no socket; no owner and no mode but by an open descriptor. */
static const uint16_t calls[] = {
	SYS_read,	  SYS_readv,	       SYS_pread64,
	SYS_recvfrom,	  SYS_recvmsg,	       SYS_write,
	SYS_writev,	  SYS_pwrite64,	       SYS_sendto,
	SYS_sendmsg,	  SYS_close,	       SYS_lseek,
	SYS_fsync,	  SYS_fcntl,	       SYS_ftruncate,
	SYS_fchmod,	  SYS_utimensat,       SYS_openat,
	SYS_mkdirat,	  SYS_unlinkat,	       SYS_renameat,
	SYS_linkat,	  SYS_symlinkat,       SYS_readlinkat,
	SYS_faccessat,	  SYS_newfstatat,      SYS_fstat,
	SYS_statx,	  SYS_fstatfs,	       SYS_getdents64,
	SYS_getsockopt,	  SYS_shutdown,	       SYS_poll,
	SYS_ppoll,	  SYS_clock_gettime,   SYS_clock_nanosleep,
	SYS_gettimeofday, SYS_getrandom,       SYS_brk,
	SYS_sysinfo, /* qsort(3) asks how much memory there is */
	SYS_mmap,	  SYS_munmap,	       SYS_mremap,
	SYS_mprotect,	  SYS_madvise,	       SYS_futex,
	SYS_getpid,	  SYS_gettid,	       SYS_geteuid,
	SYS_tgkill,	  SYS_rt_sigaction,    SYS_rt_sigprocmask,
	SYS_rt_sigreturn, SYS_restart_syscall, SYS_exit,
	SYS_exit_group,
};

static int limit_resources(void)
{
	const struct rlimit_most limits[] = {
		WALLS_RLIMITS,
		{ RLIMIT_NPROC, 0 },
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they reserve terabytes */
		{ RLIMIT_AS, COPY_MEMORY_MAX },
#endif
	};
	return rlimit_lower_all(limits, MVM_ARRAY_SIZE(limits));
}

/* Its folders may belong to anybody; else it needs no right of root's. */
static int give_up_rights(void)
{
	const unsigned needed[] = { CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID };
	uint64_t kept = 0;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(needed); i++)
		kept |= privilege_has(needed[i]) ? UINT64_C(1) << needed[i] : 0;
	int r = privilege_keep_only(kept);
	return r < 0 ? r : limit_resources();
}

static int allow_places(int rules_fd, const struct volume_places *places, bool back)
{
	int r = 0;
	for (size_t k = 0; k < RECORD_VOLUMES_MAX && r == 0; k++) {
		const struct volume_place *p = &places->at[k];
		if (p->fd < 0)
			continue;
		if (back) /* a file is made anew, beside its place */
			r = landlock_allow(rules_fd, p->fd, "", LANDLOCK_FILL);
		else if (p->is_file)
			r = landlock_allow(rules_fd, p->fd, p->path, LANDLOCK_READ);
		else
			r = landlock_allow(rules_fd, p->fd, "", LANDLOCK_LOOK);
	}
	return r;
}

static int limit_files(const struct volume_places *places, bool back)
{
	AUTO_CLOSE int rules_fd = landlock_open(false);
	int r = rules_fd < 0 ? rules_fd : allow_places(rules_fd, places, back);
	return r < 0 ? r : landlock_enter(rules_fd);
}

int copy_walls_enter(const struct volume_places *places, bool back)
{
	int version = landlock_version();
	int r = give_up_rights();
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	if (r == 0 && version >= (back ? LANDLOCK_OF_LINKS : 1))
		r = limit_files(places, back);
	if (r == 0 && SYSCALLS_FILTER_SELF)
		r = syscalls_enter(calls, MVM_ARRAY_SIZE(calls), 0);
	return r;
}
