/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/uid.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "vmm/privilege.h"
#include "vmm/uid_lock.h"

/* systemd's table of uids calls 0x70000000 and above unused. */
#define UID_FIRST    0x70000000u
#define UID_COUNT    65536u
#define UID_ATTEMPTS 200u

#define MAP_MAX 65536u /* of /proc/self/uid_map: 340 lines */

/* Does the user namespace have our uids?  Each line: first inside, first outside, how many. */
static bool is_mapped(const char *path)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	bool found = false;
	if (file_read_at(AT_FDCWD, path, MAP_MAX, &text, &len) < 0)
		return false;
	for (char *p = text, *end; !found; p = end) {
		uint64_t first = strtoull(p, &end, 10);
		if (end == p)
			break;
		strtoull(end, &end, 10);
		uint64_t count = strtoull(end, &end, 10);
		found = first <= UID_FIRST && first + count >= (uint64_t)UID_FIRST + UID_COUNT;
	}
	return found;
}

const char *own_uid_obstacle(void)
{
	static const unsigned needed[] = { CAP_SETUID,	     CAP_SETGID, CAP_CHOWN,
					   CAP_DAC_OVERRIDE, CAP_KILL,	 CAP_SYS_PTRACE };
	if (geteuid() != 0)
		return "only root can start processes as other users";
	for (size_t i = 0; i < MVM_ARRAY_SIZE(needed); i++) {
		if (!privilege_has(needed[i]))
			return "this root lacks a capability: SETUID, SETGID, CHOWN, DAC_OVERRIDE, "
			       "KILL or SYS_PTRACE";
	}
	if (!is_mapped("/proc/self/uid_map") || !is_mapped("/proc/self/gid_map"))
		return "this user namespace has no users to spare";
	AUTO_CLOSE int folder_fd = uid_lock_open();
	if (folder_fd < 0)
		return "neither /run nor /var/lib is a folder that root and nobody else can write";
	return NULL;
}

int own_uid_take(struct own_uid *ret)
{
	uint32_t start;
	int fd = -EBUSY;
	uid_t uid = 0;
	AUTO_CLOSE int folder_fd = uid_lock_open();
	if (folder_fd < 0)
		return folder_fd;
	random_bytes(&start, sizeof(start));
	for (uint32_t i = 0; i < UID_ATTEMPTS && fd == -EBUSY; i++) {
		uid = UID_FIRST + (start + i) % UID_COUNT;
		fd = uid_lock_take(folder_fd, uid);
	}
	if (fd < 0)
		return fd;
	AUTO_CLOSE int ours = fd;
	struct own_uid u = OWN_UID_NONE;
	if (pipe2(u.life_fds, O_CLOEXEC) < 0)
		return -errno;
	u.uid = uid;
	u.fd = TAKE_FD(ours);
	*ret = u;
	return 0;
}

void own_uid_done(struct own_uid *u)
{
	auto_close(&u->fd);
	auto_close(&u->life_fds[0]);
	auto_close(&u->life_fds[1]);
	*u = (struct own_uid)OWN_UID_NONE;
}

int own_uid_device_group(const char *path, gid_t *ret)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return -errno;
	if ((st.st_mode & 06) == 06)
		return 0;
	if ((st.st_mode & 060) != 060 || st.st_gid == 0)
		return -EACCES; /* root's group could do more than use this device */
	*ret = st.st_gid;
	return 1;
}

int own_uid_give(const struct own_uid *u, int fd)
{
	return fchownat(fd, "", u->uid, u->uid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

void own_uid_take_back(int fd)
{
	(void)!fchownat(fd, "", geteuid(), getegid(),
			AT_EMPTY_PATH); /* a failure does no harm: uid.h */
}

int own_uid_become(const struct own_uid *u, gid_t group, bool bind_ports)
{
	bool keep = bind_ports && privilege_has(CAP_NET_BIND_SERVICE);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setgroups(group != 0, &group) < 0 ||
	    setresgid(u->uid, u->uid, u->uid) < 0 || prctl(PR_SET_KEEPCAPS, keep, 0, 0, 0) < 0 ||
	    setresuid(u->uid, u->uid, u->uid) < 0)
		return -errno;
	int r = privilege_keep_only(keep ? UINT64_C(1) << CAP_NET_BIND_SERVICE : 0);
	if (r == 0 && keep &&
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) < 0)
		r = -errno;
	return r;
}

int own_uid_tie(const struct own_uid *u, pid_t pid)
{
	const struct f_owner_ex owner = { .type = F_OWNER_PID, .pid = pid };
	/* whichever end is closed first tells the other */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(u->life_fds); i++) {
		int fd = u->life_fds[i];
		int flags = fcntl(fd, F_GETFL);
		if (flags < 0 || fcntl(fd, F_SETOWN_EX, &owner) < 0 ||
		    fcntl(fd, F_SETSIG, SIGKILL) < 0 || fcntl(fd, F_SETFL, flags | O_ASYNC) < 0)
			return -errno;
	}
	return 0;
}
