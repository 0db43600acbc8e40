/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/confine.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/landlock.h"
#include "base/own.h"
#include "base/rlimit.h"
#include "base/syscalls.h"

#define FILES_MAX    1024u /* descriptors: a pull's blobs and connections */
#define MEMORY_BYTES ((uint64_t)1 << 30)

/* No process, no execution, no file but for reading (with Landlock or without), no socket that
 * listens.  stat(2) is there
 * because the C library's resolver looks whether its files have changed. */
static const uint16_t calls[] = {
	SYS_read,
	SYS_readv,
	SYS_pread64,
	SYS_recvfrom,
	SYS_recvmsg,
	SYS_write,
	SYS_writev,
	SYS_pwrite64,
	SYS_sendto,
	SYS_sendmsg,
	SYS_sendmmsg, /* the resolver's two questions */
	SYS_ftruncate,
	SYS_close,
	SYS_lseek,
	SYS_fstat,
	SYS_newfstatat,
	SYS_statx,
	SYS_openat,
	SYS_getdents64,
	SYS_readlink,
	SYS_fcntl,
	SYS_ioctl,
	SYS_poll,
	SYS_ppoll,
	SYS_select,
	SYS_pselect6,
	SYS_socket,
	SYS_socketpair, /* libcurl is woken by them */
	SYS_pipe2,
	SYS_eventfd2,
	SYS_connect,
	SYS_getsockname,
	SYS_getpeername,
	SYS_getsockopt,
	SYS_setsockopt,
	SYS_shutdown,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_gettimeofday,
	SYS_time,
	SYS_getrandom,
	SYS_brk,
	SYS_mmap,
	SYS_munmap,
	SYS_mremap,
	SYS_mprotect,
	SYS_madvise,
	SYS_clone, /* threads: names are resolved in one */
	SYS_set_robust_list,
	SYS_rseq,
	SYS_futex,
	SYS_sched_getaffinity,
	SYS_sched_yield,
	SYS_sysinfo,
	SYS_uname,
	SYS_prctl,
	SYS_prlimit64,
	SYS_getpid,
	SYS_gettid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_tgkill,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_restart_syscall,
	SYS_exit,
	SYS_exit_group,
};

/* Libraries that are loaded late (NSS, OpenSSL's), the resolver's settings, certificates,
 * randomness. */
static const char *const readable[] = {
	"/usr/lib",
	"/usr/lib32",
	"/usr/lib64",
	"/usr/libx32",
	"/usr/local/lib",
	"/lib",
	"/lib64",
	"/nix/store",
	"/gnu/store",
	"/dev/urandom",
	"/etc/ld.so.cache",
	"/etc/resolv.conf",
	"/etc/hosts",
	"/etc/host.conf",
	"/etc/gai.conf",
	"/etc/nsswitch.conf",
	"/etc/services",
	"/etc/ssl/certs",
	"/etc/ssl/cert.pem",
	"/etc/ssl/openssl.cnf",
	"/etc/pki/tls/certs",
	"/etc/pki/tls/cert.pem",
	"/etc/pki/tls/openssl.cnf",
	"/etc/pki/ca-trust",
	"/etc/ca-certificates",
	"/etc/crypto-policies",
	"/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates",
	"/usr/share/crypto-policies",
};

static const char *const named_by[] = { "SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE" };

static int allow(int rules_fd, const char *path)
{
	return path && *path ? landlock_allow(rules_fd, AT_FDCWD, path, LANDLOCK_LOOK) : 0;
}

static int limit_files(void)
{
	const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
	AUTO_CLOSE int rules_fd = landlock_open(true);
	int r = rules_fd < 0 ? rules_fd : 0;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(readable) && r == 0; i++)
		r = allow(rules_fd, readable[i]);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(named_by) && r == 0; i++)
		r = allow(rules_fd, getenv(named_by[i]));
	if (r == 0)
		r = allow(rules_fd, curl->cainfo);
	if (r == 0)
		r = allow(rules_fd, curl->capath);
	return r < 0 ? r : landlock_enter(rules_fd);
}

static int limit_resources(void)
{
	const struct rlimit_most limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_MEMLOCK, 0 },
		{ RLIMIT_MSGQUEUE, 0 },
		{ RLIMIT_NOFILE, FILES_MAX },
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they reserve terabytes */
		{ RLIMIT_AS, MEMORY_BYTES },
#endif
	};
	return rlimit_lower_all(limits, MVM_ARRAY_SIZE(limits));
}

int registry_confine(struct mvm_error *err)
{
	int r = limit_resources();
	if (r == 0 && landlock_version() > 0)
		r = limit_files();
	if (r == 0 && SYSCALLS_FILTER_SELF)
		r = syscalls_enter(calls, MVM_ARRAY_SIZE(calls),
				   SYSCALLS_NETWORK | SYSCALLS_READ_ONLY);
	return r < 0 ? mvm_error_set(err, r, "cannot shut mvm-registry in: %s", strerror(-r)) : 0;
}
