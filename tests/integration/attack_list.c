/* SPDX-License-Identifier: Apache-2.0 */
/* What is tried from inside a VMM or a supervisor; see attack.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "attack.h"

#define FDS	64
#define THREADS 1000
#define FAR	((off_t)1 << 40)

#pragma GCC diagnostic ignored "-Wconversion"

/* A supervisor has no environment any more when it is attacked. */
static struct target {
	const char *name;
	char *value;
} targets[] = {
	{ "ATTACK_HOME", NULL },     { "ATTACK_MEMORY", NULL }, { "ATTACK_SOCKET", NULL },
	{ "ATTACK_ABSTRACT", NULL }, { "ATTACK_PORT", NULL },	{ "ATTACK_PID", NULL },
};
#define TARGETS (sizeof(targets) / sizeof(targets[0]))

void attack_prepare(void)
{
	for (size_t i = 0; i < TARGETS; i++) {
		const char *value = getenv(targets[i].name);
		targets[i].value = value ? strdup(value) : NULL;
	}
}

static const char *text_of(const char *name)
{
	for (size_t i = 0; i < TARGETS; i++) {
		if (strcmp(targets[i].name, name) == 0 && targets[i].value)
			return targets[i].value;
	}
	return "/nowhere";
}

static pid_t victim(void)
{
	return atoi(text_of("ATTACK_PID"));
}

static const char *in_home(const char *name)
{
	static char path[2][4096];
	static int turn;
	turn = !turn;
	snprintf(path[turn], sizeof(path[0]), "%s/%s", text_of("ATTACK_HOME"), name);
	return path[turn];
}

/* ---- files ---- */

static bool opens(const char *path, int flags)
{
	int fd = open(path, flags, 0600);
	return fd >= 0 && close(fd) == 0;
}

static bool lists(const char *path)
{
	int n = 0;
	DIR *dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n > 3; /* an empty root has only ".", ".." and perhaps "etc" */
}

static bool read_secret(void)
{
	return opens(in_home("secret"), O_RDONLY);
}
static bool append_secret(void)
{
	return opens(in_home("secret"), O_WRONLY | O_APPEND);
}
static bool list_home(void)
{
	return lists(in_home("."));
}
static bool list_root(void)
{
	return lists("/");
}
static bool list_proc(void)
{
	return lists("/proc");
}
static bool create_in_home(void)
{
	return opens(in_home("made"), O_WRONLY | O_CREAT);
}
static bool create_in_tmp(void)
{
	return opens("/tmp/mvm-attack", O_WRONLY | O_CREAT);
}
static bool create_in_shm(void)
{
	return opens("/dev/shm/mvm-attack", O_WRONLY | O_CREAT);
}
static bool create_in_root(void)
{
	return opens("/mvm-attack", O_WRONLY | O_CREAT);
}
static bool create_here(void)
{
	return opens("mvm-attack", O_WRONLY | O_CREAT);
}
static bool unnamed_file(void)
{
	return opens("/", O_TMPFILE | O_RDWR) || opens("/tmp", O_TMPFILE | O_RDWR);
}
static bool read_passwd(void)
{
	return opens("/etc/passwd", O_RDONLY);
}
static bool read_program(void)
{
	return opens("/usr/bin/env", O_RDONLY);
}
static bool read_environ(void)
{
	return opens("/proc/self/environ", O_RDONLY) || getenv("HOME");
}
static bool open_own_memory(void)
{
	return opens("/proc/self/mem", O_RDWR);
}
static bool open_init(void)
{
	return opens("/proc/1/status", O_RDONLY);
}
static bool read_sysfs(void)
{
	return opens("/sys/kernel/mm/ksm/run", O_RDONLY);
}
static bool open_tty(void)
{
	return opens("/dev/tty", O_RDWR) || opens("/dev/ptmx", O_RDWR);
}
static bool open_tun(void)
{
	return opens("/dev/net/tun", O_RDWR);
}
static bool open_fuse(void)
{
	return opens("/dev/fuse", O_RDWR);
}
static bool open_disk(void)
{
	return opens("/dev/vda", O_RDONLY) || opens("/dev/sda", O_RDONLY);
}
static bool write_memory_file(void)
{
	return opens(text_of("ATTACK_MEMORY"), O_RDWR);
}
static bool stat_secret(void)
{
	struct stat st;
	return stat(in_home("secret"), &st) == 0;
}
static bool chmod_secret(void)
{
	return chmod(in_home("secret"), 0644) == 0;
}
static bool chown_secret(void)
{
	return chown(in_home("secret"), geteuid(), getegid()) == 0;
}
static bool touch_secret(void)
{
	return utimensat(AT_FDCWD, in_home("secret"), NULL, 0) == 0;
}
static bool truncate_secret(void)
{
	return truncate(in_home("secret"), 6) == 0;
}
static bool link_secret(void)
{
	return link(in_home("secret"), in_home("link")) == 0;
}
static bool rename_secret(void)
{
	return rename(in_home("secret"), in_home("other")) == 0;
}
static bool make_link(void)
{
	return symlink("secret", in_home("symlink")) == 0;
}
static bool make_folder(void)
{
	return mkdir(in_home("folder"), 0700) == 0 || mkdir("/folder", 0700) == 0;
}
static bool make_fifo(void)
{
	return mkfifo(in_home("fifo"), 0600) == 0;
}
static bool make_device(void)
{
	return mknod("/device", S_IFCHR | 0600, 0x103) == 0;
}
static bool change_folder(void)
{
	return chdir(text_of("ATTACK_HOME")) == 0;
}

/* The first open regular file that is as long as the memory file, or that is writable. */
static int find_file(bool writable)
{
	for (int fd = 3; fd < FDS; fd++) {
		struct stat st;
		int flags = fcntl(fd, F_GETFL);
		if (flags < 0 || (flags & O_PATH) || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (writable ? (flags & O_ACCMODE) == O_RDWR : st.st_size >= 64 << 20)
			return fd;
	}
	return -1;
}

/* In a clone, which maps the snapshot's memory file. */
static bool write_memory_fd(void)
{
	int fd = find_file(false);
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return fd >= 0 && (p != MAP_FAILED || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY ||
			   pwrite(fd, "x", 1, 0) == 1);
}

static bool setuid_own_disk(void)
{
	int fd = find_file(true);
	return fd >= 0 && fchmod(fd, 06755) == 0;
}

static bool grow_own_disk(void)
{
	int fd = find_file(true);
	signal(SIGXFSZ, SIG_IGN);
	return fd >= 0 && (ftruncate(fd, FAR) == 0 || pwrite(fd, "x", 1, FAR) == 1);
}

static bool execute(void)
{
	int fds[2];
	char byte;
	char *const argv[] = { (char *)"true", NULL }, *const env[] = { NULL };
	/* execve(2) would replace us, so only check whether it could */
	return pipe2(fds, O_CLOEXEC) == 0 && access("/bin/true", X_OK) == 0 &&
	       read(fds[0], &byte, 0) == 0 && argv[0] && !env[0];
}

/* ---- processes ---- */

static void *sleep_on(void *arg)
{
	sleep(1000);
	return arg;
}

static bool thread_bomb(void)
{
	int n = 0;
	pthread_t thread;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	while (n < THREADS && pthread_create(&thread, &attr, sleep_on, NULL) == 0)
		n++;
	return n == THREADS;
}

static bool forks(long pid)
{
	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static bool fork_it(void)
{
	return forks(syscall(SYS_fork));
}
static bool clone_it(void)
{
	return forks(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}
static bool clone_into_user(void)
{
	return forks(syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, 0, 0, 0, 0));
}

static bool signal_by_descriptor(void)
{
	const struct f_owner_ex owner = { .type = F_OWNER_PID, .pid = victim() };
	int fds[2];
	return pipe2(fds, O_CLOEXEC) == 0 && fcntl(fds[0], F_SETOWN_EX, &owner) == 0;
}

static bool read_victim(void)
{
	char byte;
	struct iovec to = { &byte, 1 }, from = { (void *)0x400000, 1 };
	return process_vm_readv(victim(), &to, 1, &from, 1, 0) == 1 || errno == EFAULT;
}

/* ---- the network ---- */

static bool connects(int domain, const void *address, socklen_t len)
{
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool done = fd >= 0 && connect(fd, address, len) == 0;
	if (fd >= 0)
		close(fd);
	return done;
}

static bool connect_unix(bool abstract, const char *name)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(name);
	if (len > sizeof(un.sun_path) - 2)
		return false;
	memcpy(un.sun_path + abstract, name, len);
	return connects(AF_UNIX, &un, offsetof(struct sockaddr_un, sun_path) + abstract + len);
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static bool connect_other_vm(void)
{
	return connect_unix(false, text_of("ATTACK_SOCKET"));
}
static bool connect_abstract(void)
{
	return connect_unix(true, text_of("ATTACK_ABSTRACT"));
}

static bool connect_host(void)
{
	struct sockaddr_in to = loopback(atoi(text_of("ATTACK_PORT")));
	return connects(AF_INET, &to, sizeof(to));
}

static bool listen_tcp(void)
{
	struct sockaddr_in at = loopback(0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd >= 0 && bind(fd, (void *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0;
}

static bool send_udp(void)
{
	struct sockaddr_in to = loopback(9);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd >= 0 && sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)) == 1;
}

static bool pair_of_sockets(void)
{
	int fds[2];
	return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0;
}

/* ---- system calls that are refused with any arguments ---- */

#define CALL(name, ...)                                                                            \
	{                                                                                          \
#name, NULL, SYS_##name,                                                           \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

const struct attempt attempts[] = {
	{ "read the user's file", read_secret, 0, { 0 } },
	{ "append to the user's file", append_secret, 0, { 0 } },
	{ "stat the user's file", stat_secret, 0, { 0 } },
	{ "chmod the user's file", chmod_secret, 0, { 0 } },
	{ "chown the user's file", chown_secret, 0, { 0 } },
	{ "touch the user's file", touch_secret, 0, { 0 } },
	{ "truncate the user's file", truncate_secret, 0, { 0 } },
	{ "link the user's file", link_secret, 0, { 0 } },
	{ "list the user's folder", list_home, 0, { 0 } },
	{ "enter the user's folder", change_folder, 0, { 0 } },
	{ "create in the user's folder", create_in_home, 0, { 0 } },
	{ "make a symbolic link", make_link, 0, { 0 } },
	{ "make a folder", make_folder, 0, { 0 } },
	{ "make a fifo", make_fifo, 0, { 0 } },
	{ "make a device", make_device, 0, { 0 } },
	{ "list /", list_root, 0, { 0 } },
	{ "list /proc", list_proc, 0, { 0 } },
	{ "create in /tmp", create_in_tmp, 0, { 0 } },
	{ "create in /dev/shm", create_in_shm, 0, { 0 } },
	{ "create in /", create_in_root, 0, { 0 } },
	{ "create where it stands", create_here, 0, { 0 } },
	{ "create without a name", unnamed_file, 0, { 0 } },
	{ "read /etc/passwd", read_passwd, 0, { 0 } },
	{ "read a program", read_program, 0, { 0 } },
	{ "read the environment", read_environ, 0, { 0 } },
	{ "open its own memory", open_own_memory, 0, { 0 } },
	{ "open /proc/1", open_init, 0, { 0 } },
	{ "read /sys", read_sysfs, 0, { 0 } },
	{ "open a terminal", open_tty, 0, { 0 } },
	{ "open /dev/net/tun", open_tun, 0, { 0 } },
	{ "open /dev/fuse", open_fuse, 0, { 0 } },
	{ "open a disk", open_disk, 0, { 0 } },
	{ "open the shared memory for writing", write_memory_file, 0, { 0 } },
	{ "write the shared memory", write_memory_fd, 0, { 0 } },
	{ "make its disk setuid", setuid_own_disk, 0, { 0 } },
	{ "fill the host's disk", grow_own_disk, 0, { 0 } },
	{ "execute a program", execute, 0, { 0 } },
	{ "fork", fork_it, 0, { 0 } },
	{ "clone", clone_it, 0, { 0 } },
	{ "clone into a user namespace", clone_into_user, 0, { 0 } },
	{ "signal by a descriptor", signal_by_descriptor, 0, { 0 } },
	{ "read another process", read_victim, 0, { 0 } },
	{ "connect to another VM", connect_other_vm, 0, { 0 } },
	{ "connect to an abstract socket", connect_abstract, 0, { 0 } },
	{ "connect to the host", connect_host, 0, { 0 } },
	{ "listen on the host", listen_tcp, 0, { 0 } },
	{ "send a datagram", send_udp, 0, { 0 } },
	{ "make a pair of sockets", pair_of_sockets, 0, { 0 } },
	{ "socket of netlink", NULL, SYS_socket, { AF_NETLINK, SOCK_RAW } },
	{ "socket of packets", NULL, SYS_socket, { AF_PACKET, SOCK_DGRAM } },
	{ "raw socket", NULL, SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_ICMP } },
	{ "socket of vsock", NULL, SYS_socket, { AF_VSOCK, SOCK_STREAM } },
	{ "socket of the kernel's ciphers", NULL, SYS_socket, { AF_ALG, SOCK_SEQPACKET } },
	{ "outlive its parent", NULL, SYS_prctl, { PR_SET_PDEATHSIG, 0 } },
	{ "name a tracer", NULL, SYS_prctl, { PR_SET_PTRACER, -1 } },
	{ "push into a terminal", NULL, SYS_ioctl, { 0, TIOCSTI } },
	{ "own a descriptor's signals", NULL, SYS_ioctl, { 3, FIOSETOWN } },
	{ "signal all", NULL, SYS_kill, { -1, 0 } },
	{ "clone3", NULL, SYS_clone3, { 0, 0 } },
	CALL(kill, 0), /* its group */
	CALL(tkill, 1),
	CALL(rt_sigqueueinfo, 1),
	CALL(pidfd_open, 1),
	CALL(pidfd_send_signal, 0),
	CALL(ptrace, PTRACE_SEIZE, -1),
	CALL(process_vm_writev, 1),
	CALL(process_madvise, 0),
	CALL(kcmp, 1, 1),
	CALL(sched_setaffinity, 0),
	CALL(sched_setscheduler, 0),
	CALL(setpriority, 0),
	CALL(ioprio_set, 1),
	CALL(setrlimit, RLIMIT_NOFILE),
	CALL(unshare, CLONE_NEWUSER),
	CALL(unshare, CLONE_NEWNET),
	CALL(setns, 0),
	CALL(mount, 0),
	CALL(umount2, 0),
	CALL(pivot_root, 0),
	CALL(chroot, 0),
	CALL(open_tree, 0),
	CALL(fsopen, 0),
	CALL(open_by_handle_at, 0),
	CALL(setuid, 0),
	CALL(setresuid, 0),
	CALL(setgroups, 0),
	CALL(capset, 0),
	CALL(setsid, 0),
	CALL(personality, 0),
	CALL(io_uring_setup, 1),
	CALL(userfaultfd, 1),
	CALL(keyctl, 0),
	CALL(add_key, 0),
	CALL(request_key, 0),
	CALL(bpf, 0),
	CALL(perf_event_open, 0),
	CALL(memfd_create, 0),
	CALL(memfd_secret, 0),
	CALL(shmget, 0, 4096, 0600),
	CALL(msgget, 0, 0600),
	CALL(semget, 0, 1, 0600),
	CALL(mq_open, 0),
	CALL(inotify_init1, 0),
	CALL(fanotify_init, 0),
	CALL(quotactl, 0),
	CALL(syslog, 0),
	CALL(swapon, 0),
	CALL(reboot, 0),
	CALL(kexec_load, 0),
	CALL(init_module, 0),
	CALL(finit_module, -1),
	CALL(clock_settime, 0),
	CALL(settimeofday, 0),
	CALL(adjtimex, 0),
	CALL(sethostname, 0),
	CALL(iopl, 0),
	CALL(ioperm, 0),
	CALL(modify_ldt, 0),
	CALL(acct, 0),
	CALL(vhangup, 0),
	CALL(setxattr, 0),
	CALL(execveat, -1),
	CALL(vmsplice, -1),
	CALL(splice, -1),
	{ "rename the user's file", rename_secret, 0, { 0 } },
	{ "start a thousand threads", thread_bomb, 0, { 0 } },
};

const size_t n_attempts = sizeof(attempts) / sizeof(attempts[0]);
