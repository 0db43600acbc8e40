/* SPDX-License-Identifier: Apache-2.0 */
/* Shows the files of a revision through mvm-lazy while they come. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact/chunk.h"
#include "base/file.h"
#include "base/lazy_map.h"
#include "base/process.h"
#include "base/program.h"
#include "base/sock.h"
#include "instance/own_disk.h"
#include "template/lazy.h"

#define PROGRAM "mvm-lazy"

_Static_assert(sizeof(((struct lazy_mount *)NULL)->fds) / sizeof(int) == LAZY_FILES_MAX, "room");
_Static_assert(INDEX_NAME_SIZE <= LAZY_NAME_SIZE, "room for names");

void lazy_mount_done(struct lazy_mount *m)
{
	if (m->map)
		munmap(m->map, m->map_bytes);
	auto_close(&m->map_fd);
	auto_close(&m->control_fd);
	for (size_t i = 0; i < m->n_fds; i++)
		close(m->fds[i]);
	*m = (struct lazy_mount)LAZY_MOUNT_NONE;
}

/* ---- the map ---- */

void lazy_map_put(void *arg, uint32_t file, uint64_t offset, uint64_t bytes)
{
	struct lazy_mount *m = arg;
	const uint64_t first = m->first_bits[file];
	const uint64_t end = first + (offset + bytes + LAZY_BLOCK - 1) / LAZY_BLOCK;

	for (uint64_t bit = first + offset / LAZY_BLOCK; first != LAZY_ALL && bit < end; bit++) {
		_Atomic uint64_t *word = (_Atomic uint64_t *)&m->map->bits[bit / 64];
		atomic_fetch_or_explicit(word, UINT64_C(1) << bit % 64, memory_order_release);
	}
}

static void put_holes(struct lazy_mount *m, const struct chunk_index *x, uint32_t file)
{
	const struct index_file *f = &x->files[file];
	uint64_t offset = 0;

	for (uint32_t k = f->first_chunk; k < f->first_chunk + f->n_chunks; k++) {
		uint64_t bytes = chunk_bytes(f, offset, &x->chunks[k]);
		if (chunk_is_hole(&x->chunks[k]))
			lazy_map_put(m, file, offset, bytes);
		offset += bytes;
	}
}

/* Make shared memory for so many bits.  mvm-lazy gets a descriptor that only reads. */
static int make_memory(struct lazy_mount *m, uint64_t bits)
{
	char path[FD_PATH_SIZE];
	const uint64_t words = bits / 64 + 1;

	m->map_bytes = sizeof(*m->map) + (size_t)words * sizeof(uint64_t);
	AUTO_CLOSE int fd = memfd_create("lazy", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)m->map_bytes) < 0)
		return -errno;
	void *p = mmap(NULL, m->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	m->map = p;
	m->map->n_words = words;
	fd_path(fd, path);
	m->map_fd = open(path, O_RDONLY | O_CLOEXEC);
	return m->map_fd < 0 ? -errno : 0;
}

/* Show a file.  first_bit: LAZY_ALL: it is whole. */
static int add(struct lazy_mount *m, int dir_fd, const char *name, uint64_t first_bit)
{
	struct stat st;

	if (m->n_fds == LAZY_FILES_MAX)
		return -EFBIG;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	m->fds[m->n_fds++] = fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	struct lazy_file *file = &m->map->files[m->map->n_files++];
	file->bytes = (uint64_t)st.st_size;
	file->first_bit = first_bit;
	snprintf(file->name, sizeof(file->name), "%s", name);
	return 0;
}

int lazy_map_make(struct lazy_mount *m, const struct artifact_staged *staged,
		  const struct chunk_index *index, const int *fds, struct mvm_error *err)
{
	static const char *const others[] = { "revision.json", "checksums.json", "fc-base.json" };
	uint64_t bits = 0;

	for (uint32_t i = 0; i < index->n_files; i++) {
		m->first_bits[i] = fds[i] < 0 ? LAZY_ALL : bits;
		bits += fds[i] < 0 ? 0 : chunk_blocks(index->files[i].bytes);
	}
	int r = make_memory(m, bits);
	/* first those of the index, so that they keep their numbers */
	for (uint32_t i = 0; r == 0 && i < index->n_files; i++) {
		r = add(m, staged->files_fd, index->files[i].name, m->first_bits[i]);
		if (r == 0 && fds[i] >= 0)
			put_holes(m, index, i);
	}
	for (size_t i = 0; r == 0 && i < MVM_ARRAY_SIZE(others); i++)
		r = add(m, staged->view_fd, others[i], LAZY_ALL);
	if (r == 0 && staged->rev->data_disk_mib)
		r = add(m, staged->view_fd, own_disks[OWN_DISK_DATA].file, LAZY_ALL);
	return r < 0 ? mvm_error_set(err, r, "cannot show the revision: %s", strerror(-r)) : 0;
}

/* ---- the mount ---- */

/*
 * Make a FUSE file system that is mounted nowhere: it lives as long as somebody has a descriptor of
 * it.  QEMU runs as another user than we: root lets all users read.
 *
 * Source: Linux Documentation/filesystems/fuse.rst, "Mount options"; fsopen(2).
 */
static int make_mount(int fuse_fd, int *ret)
{
	char text[24];
	const struct {
		const char *key;
		unsigned value;
		bool octal;
	} options[] = {
		{ "fd", (unsigned)fuse_fd, false },
		{ "rootmode", S_IFDIR, true },
		{ "user_id", geteuid(), false },
		{ "group_id", getegid(), false },
	};

	AUTO_CLOSE int fs_fd = fsopen("fuse", FSOPEN_CLOEXEC);
	if (fs_fd < 0 || fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", "mvm", 0) < 0 ||
	    (geteuid() == 0 && fsconfig(fs_fd, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) < 0))
		return -errno;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(options); i++) {
		snprintf(text, sizeof(text), options[i].octal ? "%o" : "%u", options[i].value);
		if (fsconfig(fs_fd, FSCONFIG_SET_STRING, options[i].key, text, 0) < 0)
			return -errno;
	}
	if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	int fd = fsmount(fs_fd, FSMOUNT_CLOEXEC,
			 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

/* ---- without root ---- */

struct user_mount {
	int sock;
	char uid_map[32], gid_map[32];
};

static int write_text(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The kernel wants that /dev/fuse is opened in the namespace that mounts. */
static int mount_in_namespace(const struct user_mount *u, int ret_fds[2])
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return -errno;
	int r = write_text("/proc/self/setgroups", "deny");
	if (r == 0)
		r = write_text("/proc/self/uid_map", u->uid_map);
	if (r == 0)
		r = write_text("/proc/self/gid_map", u->gid_map);
	if (r < 0)
		return r;
	ret_fds[0] = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	return ret_fds[0] < 0 ? -errno : make_mount(ret_fds[0], &ret_fds[1]);
}

/* In the child: send the errno, and the descriptors.  Makes only system calls. */
static int mount_and_send(const struct user_mount *u)
{
	int fds[2] = { -1, -1 };
	int r = mount_in_namespace(u, fds);
	return sock_send_fds(u->sock, &r, sizeof(r), fds, r < 0 ? 0 : 2);
}

/*
 * A user has the right to mount FUSE in a user namespace of its own.  A child makes one, which
 * lives no longer than the mount.  Processes of this user, and of no other, may use the file
 * system, in whatever namespace.
 *
 * Source: Linux fs/fuse/inode.c (fuse_fill_super) and dir.c (fuse_allow_current_process);
 * user_namespaces(7).
 */
static int mount_as_user(int *ret_fuse_fd, int *ret_root_fd)
{
	AUTO_DONE(process) child = { 0 };
	struct user_mount u;
	int pair[2], fds[2] = { -1, -1 }, r = 0;
	size_t n = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	AUTO_CLOSE int ours = pair[0], theirs = pair[1];
	u.sock = theirs;
	snprintf(u.uid_map, sizeof(u.uid_map), "%u %u 1", geteuid(), geteuid());
	snprintf(u.gid_map, sizeof(u.gid_map), "%u %u 1", getegid(), getegid());
	int forked = process_fork(&child);
	if (forked < 0)
		return forked;
	if (child.pid == 0)
		_exit(mount_and_send(&u) < 0);
	close(TAKE_FD(theirs)); /* so that its end is seen */
	ssize_t got = sock_receive_fds(ours, &r, sizeof(r), 0, fds, 2, &n);
	AUTO_CLOSE int fuse_fd = fds[0], root_fd = fds[1];
	if (got != (ssize_t)sizeof(r) || (r == 0 && n != 2))
		return -EPROTO;
	if (r < 0)
		return r;
	*ret_fuse_fd = TAKE_FD(fuse_fd);
	*ret_root_fd = TAKE_FD(root_fd);
	return 0;
}

static int mount_it(int *ret_fuse_fd, int *ret_root_fd)
{
	if (geteuid() != 0)
		return mount_as_user(ret_fuse_fd, ret_root_fd);
	AUTO_CLOSE int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int r = fd < 0 ? -errno : make_mount(fd, ret_root_fd);
	if (r == 0)
		*ret_fuse_fd = TAKE_FD(fd);
	return r;
}

/* ---- mvm-lazy ---- */

/* Start mvm-lazy.  It is nobody's child: it ends with the file system. */
static int start(const struct lazy_mount *m, int control_fd, int fuse_fd, int source_fd)
{
	AUTO_FREE char *path = NULL;
	char *const nothing[] = { NULL };
	int fds[LAZY_FD_FILES - LAZY_FD_FUSE + LAZY_FILES_MAX] = { fuse_fd, m->map_fd, source_fd };
	struct process detached;

	int r = program_helper_path(PROGRAM, &path);
	if (r < 0)
		return r;
	memcpy(fds + LAZY_FD_FILES - LAZY_FD_FUSE, m->fds, m->n_fds * sizeof(*fds));
	char *const argv[] = { path, NULL };
	const struct process_spec spec = { .argv = argv,
					   .env = nothing,
					   .cwd_fd = AT_FDCWD,
					   .stdin_fd = control_fd,
					   .stdout_fd = -1,
					   .stderr_fd = -1,
					   .fds = fds,
					   .n_fds = LAZY_FD_FILES - LAZY_FD_FUSE + m->n_fds,
					   .flags = PROCESS_DETACH };
	return process_spawn(&spec, &detached);
}

static int refuse(int r, const char *what, struct mvm_error *err)
{
	return mvm_error_set(err, -EOPNOTSUPP, "%s: %s", what, strerror(-r));
}

int lazy_mount_start(struct lazy_mount *m, int *ret_dir_fd, int *ret_source_fd,
		     struct mvm_error *err)
{
	int control[2], source[2];
	AUTO_CLOSE int fuse_fd = -1, root_fd = -1;
	struct stat st;

	int r = mount_it(&fuse_fd, &root_fd);
	if (r < 0)
		return refuse(r, "FUSE cannot be mounted", err);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
		return refuse(-errno, "cannot make a socket pair", err);
	AUTO_CLOSE int their_control = control[1];
	m->control_fd = control[0];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, source) < 0)
		return refuse(-errno, "cannot make a socket pair", err);
	AUTO_CLOSE int our_source = source[0];
	AUTO_CLOSE int their_source = source[1];
	r = start(m, their_control, fuse_fd, their_source);
	if (r < 0)
		return refuse(r, "cannot start " PROGRAM, err);
	/* without these its end would be nobody's */
	close(TAKE_FD(fuse_fd));
	close(TAKE_FD(their_source));
	close(TAKE_FD(their_control));
	if (fstatat(root_fd, m->map->files[0].name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(-errno, PROGRAM " does not serve", err);
	*ret_dir_fd = TAKE_FD(root_fd);
	*ret_source_fd = TAKE_FD(our_source);
	return 0;
}

void lazy_mount_tell(struct lazy_mount *m, unsigned what, const char *text)
{
	struct lazy_news news = { .what = what };

	if (m->control_fd < 0)
		return;
	snprintf(news.text, sizeof(news.text), "%s", text ? text : "");
	if (sock_send_fds(m->control_fd, &news, sizeof(news), NULL, 0) < 0) {
		close(TAKE_FD(m->control_fd)); /* nobody uses it any more */
	}
}

uint32_t lazy_mount_file(const struct lazy_mount *m, uint64_t shown)
{
	return shown < INDEX_MAX_FILES && shown < m->map->n_files &&
			       m->map->files[shown].first_bit != LAZY_ALL
		       ? (uint32_t)shown
		       : UINT32_MAX;
}
