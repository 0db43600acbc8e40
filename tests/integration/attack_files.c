/* SPDX-License-Identifier: Apache-2.0 */
/* What attack.c tries: files, by their names and by open descriptors. */
#include <dirent.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "attack.h"

#define FDS 64
#define FAR ((off_t)1 << 40)

#pragma GCC diagnostic ignored "-Wconversion"

static const char *in_home(const char *name)
{
	static char path[2][4096];
	static int turn;
	turn = !turn;
	snprintf(path[turn], sizeof(path[0]), "%s/%s", attack_target("ATTACK_HOME"), name);
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
	return opens(attack_target("ATTACK_MEMORY"), O_RDWR);
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
	return chdir(attack_target("ATTACK_HOME")) == 0;
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

/* Of the files that it may only read, and those that others share. */
static bool is_read_only(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);
	return flags >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       ((flags & O_PATH) || (flags & O_ACCMODE) == O_RDONLY);
}

/* QEMU has its own disk twice: as a path, and open. */
static bool is_own_disk(int fd)
{
	struct stat own = { 0 }, st = { 0 };
	return fstat(find_file(true), &own) == 0 && fstat(fd, &st) == 0 &&
	       own.st_ino == st.st_ino && own.st_dev == st.st_dev;
}

static bool reopen_for_writing(void)
{
	char path[64];
	for (int fd = 3; fd < FDS; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		int again = is_read_only(fd) && !is_own_disk(fd) ? open(path, O_RDWR) : -1;
		/* the supervisor lends a snapshot's memory, for reading (src/vmm/lend.h) */
		if (again >= 0 && (fcntl(again, F_GETFL) & O_ACCMODE) != O_RDONLY)
			return true;
		if (again >= 0)
			close(again);
	}
	return false;
}

static bool on_read_only(bool (*f)(int fd))
{
	for (int fd = 3; fd < FDS; fd++) {
		if (is_read_only(fd) && f(fd))
			return true;
	}
	return false;
}

/* QEMU locks bytes of its images (F_OFD_SETLK).  Another's lock would keep a clone from
 * starting. */
static bool lock_one(int fd)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1000
	};
	return flock(fd, LOCK_EX | LOCK_NB) == 0 || fcntl(fd, F_OFD_SETLK, &lock) == 0 ||
	       fcntl(fd, F_SETLK, &lock) == 0;
}
static bool touch_one(int fd)
{
	return futimens(fd, NULL) == 0;
}
static bool lease_one(int fd)
{
	return fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
}
static bool mark_one(int fd)
{
	int flags = FS_NOATIME_FL;
	return fsetxattr(fd, "user.mvm", "x", 1, 0) == 0 || ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}
static bool own_one(int fd)
{
	return fchown(fd, geteuid(), getegid()) == 0 || fchmod(fd, 0666) == 0;
}
static bool lock_shared(void)
{
	return on_read_only(lock_one);
}
static bool touch_shared(void)
{
	return on_read_only(touch_one);
}
static bool lease_shared(void)
{
	return on_read_only(lease_one);
}
static bool mark_shared(void)
{
	return on_read_only(mark_one);
}
static bool own_shared(void)
{
	return on_read_only(own_one);
}

/* A root that was taken away is in reach again by any folder of the host. */
static bool has_a_folder(void)
{
	struct stat st;
	for (int fd = 0; fd < FDS; fd++) {
		if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
			return true;
	}
	return false;
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

const struct attempt attack_files[] = {
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
	{ "reopen a file for writing", reopen_for_writing, 0, { 0 } },
	{ "lock a shared file", lock_shared, 0, { 0 } },
	{ "touch a shared file", touch_shared, 0, { 0 } },
	{ "lease a shared file", lease_shared, 0, { 0 } },
	{ "mark a shared file", mark_shared, 0, { 0 } },
	{ "own a shared file", own_shared, 0, { 0 } },
	{ "have a folder", has_a_folder, 0, { 0 } },
	{ "execute a program", execute, 0, { 0 } },
	{ "rename the user's file", rename_secret, 0, { 0 } },
};

const size_t n_attack_files = sizeof(attack_files) / sizeof(attack_files[0]);
