/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <mvm/kernel.h>
#include <mvm/store.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/seal.h"
#include "start/context.h"
#include "template/doctor.h"

#define LITTLE_SPACE_BYTES (UINT64_C(2) << 30)
#define NO_SPACE_BYTES	   (UINT64_C(128) << 20)
#define SNAPSHOTS_MAX	   200u

#define XFS_MAGIC      0x58465342
#define ZFS_MAGIC      0x2fc12fc1
#define BCACHEFS_MAGIC 0xca451a4e

enum fs_trait { FS_LOCAL, FS_VOLATILE, FS_REMOTE };

static const struct fs_kind {
	unsigned long magic;
	const char *name;
	enum fs_trait trait;
} fs_kinds[] = {
	{ EXT4_SUPER_MAGIC, "ext4", FS_LOCAL },
	{ XFS_MAGIC, "xfs", FS_LOCAL },
	{ BTRFS_SUPER_MAGIC, "btrfs", FS_LOCAL },
	{ ZFS_MAGIC, "zfs", FS_LOCAL },
	{ BCACHEFS_MAGIC, "bcachefs", FS_LOCAL },
	{ F2FS_SUPER_MAGIC, "f2fs", FS_LOCAL },
	{ OVERLAYFS_SUPER_MAGIC, "overlayfs", FS_LOCAL },
	{ TMPFS_MAGIC, "tmpfs", FS_VOLATILE },
	{ RAMFS_MAGIC, "ramfs", FS_VOLATILE },
	{ NFS_SUPER_MAGIC, "NFS", FS_REMOTE },
	{ SMB2_SUPER_MAGIC, "SMB", FS_REMOTE },
	{ CIFS_SUPER_MAGIC, "SMB", FS_REMOTE },
	{ V9FS_MAGIC, "9p", FS_REMOTE },
};

static const struct fs_kind *kind_of(unsigned long magic)
{
	static const struct fs_kind other = { 0, "another file system", FS_LOCAL };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(fs_kinds); i++) {
		if (fs_kinds[i].magic == magic)
			return &fs_kinds[i];
	}
	return &other;
}

static void describe_folder(struct doctor *d, int fd, const char *path)
{
	struct statfs fs;
	char space[24];

	if (fstatfs(fd, &fs) < 0) {
		doctor_add(d, "data", MVM_CHECK_WARN, NULL, "'%s': %s", path, strerror(errno));
		return;
	}
	const struct fs_kind *kind = kind_of((unsigned long)fs.f_type & 0xffffffffUL);
	uint64_t free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	str_bytes(free_bytes, space, sizeof(space));
	if (free_bytes < LITTLE_SPACE_BYTES) {
		doctor_add(d, "data", free_bytes < NO_SPACE_BYTES ? MVM_CHECK_FAIL : MVM_CHECK_WARN,
			   NULL, "'%s' has only %s free", path, space);
		doctor_reason(d, "data-folder-low", path);
	} else if (kind->trait == FS_VOLATILE) {
		doctor_add(d, "data", MVM_CHECK_WARN, NULL,
			   "'%s' is on %s: it takes memory and is lost at a reboot; %s free", path,
			   kind->name, space);
		doctor_reason(d, "data-folder-volatile", path);
	} else if (kind->trait == FS_REMOTE) {
		doctor_add(d, "data", MVM_CHECK_WARN, NULL,
			   "'%s' is on %s: slow, and locks may not hold; %s free", path, kind->name,
			   space);
		doctor_reason(d, "data-folder-remote", path);
	} else {
		doctor_add(d, "data", MVM_CHECK_OK, NULL, "'%s' on %s, %s free", path, kind->name,
			   space);
	}
}

void doctor_data(struct doctor *d, const char *data_dir)
{
	struct mvm_error err = { 0 };
	char link[FD_PATH_SIZE], path[512];

	int r = mvm_open(data_dir, &d->mvm, &err);
	if (r < 0) {
		d->mvm = NULL;
		doctor_add_error(d, "data", MVM_CHECK_FAIL, &err);
		return;
	}
	int fd = store_root(d->mvm->store);
	fd_path(fd, link);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	describe_folder(d, fd, path);
}

static int is_with_disk(void *arg, const struct mvm_template_summary *template)
{
	(void)arg;
	return template->data_disk_mib > 0 || template->root_disk_mib > 0;
}

/* Does any template have a disk that each clone copies? */
static bool has_disks(struct doctor *d)
{
	/* doctor_snapshots() reports a failed listing */
	return mvm_template_list(d->mvm, is_with_disk, NULL, NULL) > 0;
}

/* Does the file system have hard links, reflinks and seals?  Make one of each.  Returns 0 or
 * -errno. */
static int try_links(int dir_fd, bool *ret_hard, bool *ret_reflink, bool *ret_seal)
{
	static const char from_name[] = "doctor-from", link_name[] = "doctor-link",
			  to_name[] = "doctor-to";
	static const char block[4096] = { 1 };
	const int how = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
	AUTO_CLOSE int from = openat(dir_fd, from_name, how, 0600);
	AUTO_CLOSE int to = openat(dir_fd, to_name, how, 0600);
	int r = from < 0 || to < 0 ? -errno : file_write_all(from, block, sizeof(block));
	if (r == 0) {
		*ret_hard = linkat(dir_fd, from_name, dir_fd, link_name, 0) == 0;
		*ret_reflink = ioctl(to, FICLONE, from) == 0;
		close(TAKE_FD(from)); /* a file that is open for writing cannot be sealed */
		*ret_seal = seal_file(dir_fd, from_name) > 0;
	}
	unlinkat(dir_fd, from_name, 0); /* a sweep of the folder takes what stays */
	unlinkat(dir_fd, link_name, 0);
	unlinkat(dir_fd, to_name, 0);
	return r;
}

void doctor_links(struct doctor *d)
{
	struct mvm_error err = { 0 };
	bool hard = false, reflink = false, seal = false;

	int dir_fd = store_scratch(d->mvm->store, &err);
	if (dir_fd < 0) {
		doctor_add_error(d, "links", MVM_CHECK_FAIL, &err);
		return;
	}
	int r = try_links(dir_fd, &hard, &reflink, &seal);
	if (r < 0) {
		doctor_add(d, "links", MVM_CHECK_FAIL, NULL,
			   "cannot create a file in the data folder: %s", strerror(-r));
		doctor_reason(d, "data-folder-unfit", NULL);
	} else if (!hard) {
		doctor_add(d, "links", MVM_CHECK_WARN, NULL,
			   "the data folder has no hard links: every revision keeps a copy of all "
			   "of its files");
		doctor_reason(d, "data-folder-unfit", NULL);
	} else if (!reflink && has_disks(d)) {
		doctor_add(d, "links", MVM_CHECK_WARN, NULL,
			   "hard links work, reflinks do not: each clone of a template with a data "
			   "or root disk copies the disk's contents");
		doctor_reason(d, "data-folder-no-reflinks", NULL);
	} else {
		doctor_add(
			d, "links", MVM_CHECK_OK, NULL, "hard links work%s%s",
			reflink ? ", and so do reflinks"
				: "; reflinks do not, but only data and root disks would use them",
			seal ? "; fs-verity seals kernels, images and snapshots"
			     : "; no fs-verity: changed files are known by their times");
	}
}

void doctor_kernels(struct doctor *d)
{
	struct mvm_error err = { 0 };
	struct mvm_kernel **list = NULL;
	AUTO_DONE(strbuf) names = { 0 };
	AUTO_DONE(strbuf) damaged = { 0 };
	AUTO_FREE char *first = NULL; /* damaged one */
	size_t n = 0;

	if (mvm_kernel_list(d->mvm, &list, &n, &err) < 0) {
		doctor_add_error(d, "kernels", MVM_CHECK_WARN, &err);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		strbuf_addf(&names, "%s%s", i ? ", " : "", list[i]->name);
		if (!list[i]->problem)
			continue;
		strbuf_addf(&damaged, "%s%s", damaged.len ? "; " : "", list[i]->problem);
		if (!first)
			first = str_dup(list[i]->name, &d->failed);
	}
	mvm_kernel_list_free(list, n);
	d->failed |= names.failed || damaged.failed;
	if (damaged.len) {
		doctor_add(d, "kernels", MVM_CHECK_WARN, NULL, "%s", damaged.data);
		doctor_reason(d, "kernel-damaged", first);
	} else if (n == 0) {
		doctor_add(d, "kernels", MVM_CHECK_WARN, NULL,
			   "no guest kernel has been added: only images that bring their own can "
			   "be built");
		doctor_reason(d, "kernel-needed", NULL);
	} else {
		doctor_add(d, "kernels", MVM_CHECK_OK, NULL, "%s", names.data);
	}
}

/* The snapshots that cannot be restored here: how many, and the first one's template. */
struct stale {
	struct doctor *doctor;
	size_t snapshots, looked_at, n;
	char *id, *reason;
	bool boots;	 /* the template boots instead */
	bool no_backend; /* doctor_backends() has said how to mend that */
};

DEFINE_AUTO(mvm_template_details, mvm_template_details_free)

static void look_at_snapshot(struct doctor *d, const char *id, struct stale *s)
{
	AUTO(mvm_template_details) details = NULL;
	struct mvm_error err = { 0 };

	s->looked_at++;
	int r = mvm_template_details(d->mvm, id, d->progress, &details, &err);
	d->failed |= r == -ENOMEM;
	if (r < 0 || details->start != MVM_START_WOULD_RESTORE) {
		s->n++;
		if (!s->id) {
			s->id = str_dup(id, &d->failed);
			s->reason = str_dup(r < 0 ? err.text : details->start_reason, &d->failed);
			s->boots = r == 0 && details->start == MVM_START_WOULD_BOOT;
			s->no_backend = r == 0 && !details->backend;
		}
	}
}

static void add_snapshots(struct doctor *d, const struct stale *s)
{
	if (s->n == 0) {
		doctor_add(d, "snapshots", MVM_CHECK_OK, NULL,
			   s->looked_at < s->snapshots
				   ? "%zu of %zu looked at, all can be restored here"
				   : "all %zu can be restored here",
			   s->looked_at, s->snapshots);
		return;
	}
	doctor_add(d, "snapshots", MVM_CHECK_WARN, NULL,
		   "%zu of %zu cannot be restored here%s; '%s': %s", s->n, s->looked_at,
		   s->boots ? ", so those templates boot" : "", s->id,
		   s->reason ? s->reason : "no reason known");
	if (s->boots)
		doctor_reason(d, "snapshot-stale", s->id);
	else if (!s->no_backend)
		doctor_reason(d, "snapshot-unusable", s->id);
}

static int count_snapshot(void *arg, const struct mvm_template_summary *template)
{
	struct stale *s = arg;

	if (progress_check(s->doctor->progress, NULL) < 0)
		return 1;
	if (!template->has_snapshot)
		return 0;
	s->snapshots++;
	if (s->looked_at < SNAPSHOTS_MAX)
		look_at_snapshot(s->doctor, template->template_id, s);
	return 0;
}

void doctor_snapshots(struct doctor *d)
{
	struct mvm_error err = { 0 };
	struct stale s = { .doctor = d };

	if (mvm_template_list(d->mvm, count_snapshot, &s, &err) < 0)
		doctor_add_error(d, "snapshots", MVM_CHECK_WARN, &err);
	else if (s.snapshots == 0)
		doctor_add(d, "snapshots", MVM_CHECK_OK, NULL, "no template has one");
	else
		add_snapshots(d, &s);
	free(s.id);
	free(s.reason);
}
