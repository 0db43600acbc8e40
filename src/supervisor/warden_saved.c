/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keep the state of a running VM (instance/saved.h).  All that needs rights is here: access to the
 * files and to the VMM's memory.  It copies and hashes the bytes and looks into none.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "instance/own_disk.h"
#include "instance/saved.h"
#include "store/store.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"

/* ---- room ---- */

#define PART_BYTES ((uint64_t)32 << 20) /* of the memory */

/* most states of forks in the folder at once; a fork takes its own away when it starts */
#define FORKS_MAX 16u

/* a device state takes some 300 KiB, twice for a moment */
#define DEVICES_BYTES ((uint64_t)1 << 20)

static uint64_t blocks_of(int dir_fd, const char *name)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_blocks * 512
								    : 0;
}

/* The most room that the state can take. */
static uint64_t needed_bytes(const struct warden *w, bool fork)
{
	struct stat st;
	uint64_t bytes = DEVICES_BYTES;
	if (w->saving.dir_fd >= 0 &&
	    fstatat(w->saving.dir_fd, SAVED_PAGES, &st, AT_SYMLINK_NOFOLLOW) == 0)
		bytes += (uint64_t)st.st_size;
	for (int i = 0; fork && i < OWN_DISKS; i++)
		bytes += blocks_of(instance_fd(w), own_disks[i].file);
	return bytes;
}

/* Say how much room a failed save needs. */
static int explain_room(const struct warden *w, int r, uint64_t bytes, struct mvm_error *err)
{
	char needed[32], free[32];
	struct statvfs fs;
	if ((r != -ENOSPC && r != -EDQUOT) || fstatvfs(instance_fd(w), &fs) < 0)
		return r;
	str_bytes(bytes, needed, sizeof(needed));
	str_bytes((uint64_t)fs.f_bavail * fs.f_frsize, free, sizeof(free));
	return mvm_error_set(
		err, r, "no room to keep the VM's state: it takes up to %s, and only %s are %s",
		needed, free, r == -EDQUOT ? "free, or your quota is used up" : "free");
}

/* Look before QEMU writes: it does not say clearly that the disk is full. */
static int check_room(const struct warden *w, struct mvm_error *err)
{
	struct statvfs fs;
	if (fstatvfs(instance_fd(w), &fs) < 0 ||
	    (uint64_t)fs.f_bavail * fs.f_frsize >= DEVICES_BYTES)
		return 0;
	return explain_room(w, -ENOSPC, DEVICES_BYTES, err);
}

/* ---- keep ---- */

static void close_devices(struct warden *w)
{
	for (int i = 0; i < 2; i++) {
		if (w->devices_fds[i])
			close(w->devices_fds[i]); /* it has no name, so nothing is lost */
		w->devices_fds[i] = 0;
	}
}

static void forget_saving(struct warden *w)
{
	struct warden_saving *s = &w->saving;
	if (w->devices_fds[1] && ftruncate(w->devices_fds[1], 0) < 0)
		close_devices(w);
	auto_close(&s->dir_fd);
	auto_close(&s->pages_fd);
	saved_done(&s->info);
	own_disks_copying_done(&s->copying);
	saved_noting_done(&s->noting);
	*s = (struct warden_saving)WARDEN_SAVING_NONE;
}

static void drop_saving(struct warden *w)
{
	struct warden_saving *s = &w->saving;
	if (!s->name[0])
		return;
	tree_remove_at(instance_fd(w), s->name); /* what stays is swept with the next one */
	forget_saving(w);
}

/* Does the revision still have our snapshot?  A folder that another one has replaced stays whole,
 * in another place, while we hold its lease. */
static int check_snapshot(const struct warden *w, struct mvm_error *err)
{
	struct stat ours, now;
	AUTO_FREE char *path = str_printf("../%s/snapshot/mem.bin", w->record.revision);
	if (!path)
		return mvm_error_oom(err);
	if (fstatat(w->memory_dir_fd, "mem.bin", &ours, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstatat(w->given->fd[SUPERVISOR_FD_REVISION], path, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
	    ours.st_dev == now.st_dev && ours.st_ino == now.st_ino)
		return 0;
	return mvm_error_set(err, -ESTALE,
			     "the snapshot that the VM was restored from is gone: it was taken "
			     "anew or removed since");
}

static int check_may_save(const struct warden *w, struct mvm_error *err)
{
	if (w->record.purpose != RECORD_FOR_USER || !w->record.restore || w->memory_dir_fd < 0)
		return mvm_error_set(err, -EOPNOTSUPP, "the VM was not restored from a snapshot");
	if (!w->ops->save_pages)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "backend %s cannot keep a running VM's state", w->ops->name);
	return check_snapshot(w, err);
}

static int make_devices(struct warden *w)
{
	int dir_fd = w->saving.dir_fd;
	AUTO_CLOSE int to_fd = openat(dir_fd, SAVED_DEVICES,
				      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to_fd < 0)
		return -errno;
	AUTO_CLOSE int from_fd = openat(dir_fd, SAVED_DEVICES, O_RDONLY | O_CLOEXEC);
	if (from_fd < 0)
		return -errno;
	unlinkat(dir_fd, SAVED_DEVICES, 0);
	w->devices_fds[0] = TAKE_FD(from_fd);
	w->devices_fds[1] = TAKE_FD(to_fd);
	return 0;
}

/* Empty the file of device state and use it again.  With a new file for each state, a supervisor
 * that a guest has broken into could keep all of them open and fill the host's disk.  QEMU's end
 * can only write.
 *
 * No write of an earlier save is under way: QEMU obeys in order, and a guest whose QEMU does not
 * let it go on after a save is ended. */
static int open_devices(struct warden *w)
{
	int r = w->devices_fds[1] ? 0 : make_devices(w);
	if (r < 0)
		return r;
	int to_fd = w->devices_fds[1];
	if (ftruncate(to_fd, 0) < 0 || lseek(to_fd, 0, SEEK_SET) < 0)
		return -errno;
	int fd = fcntl(to_fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

static int answer_begin(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	struct warden_saving *s = &w->saving;
	drop_saving(w);
	int r = check_may_save(w, err);
	if (r == 0)
		r = check_room(w, err);
	if (r < 0)
		return r;
	int dir_fd = dir_make_unique_at(instance_fd(w), SAVED_SAVING, s->name);
	if (dir_fd < 0) {
		s->name[0] = '\0';
		return mvm_error_set(err, dir_fd, "cannot make a folder: %s", strerror(-dir_fd));
	}
	s->dir_fd = dir_fd;
	int fd = open_devices(w);
	if (fd < 0) {
		r = mvm_error_set(err, fd, "cannot make " SAVED_DEVICES ": %s", strerror(-fd));
		drop_saving(w);
		return r;
	}
	line_add_fd(ret, fd);
	return 0;
}

static int new_file(int dir_fd, const char *name, struct mvm_error *err)
{
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? mvm_error_set(err, -errno, "cannot make %s: %s", name, strerror(errno))
		      : fd;
}

static int note_file(int fd, char **ret_sha256, uint64_t *ret_bytes)
{
	struct mvm_digest digest;
	char hex[DIGEST_HEX_SIZE];
	int r = sha256_fd(fd, NULL, &digest, ret_bytes);
	if (r < 0)
		return r;
	digest_hex(&digest, hex);
	*ret_sha256 = strdup(hex);
	return *ret_sha256 ? 0 : -ENOMEM;
}

static int save_pages(struct warden *w, struct mvm_error *err)
{
	int fd = new_file(w->saving.dir_fd, SAVED_PAGES, err);
	if (fd < 0)
		return fd;
	w->saving.pages_fd = fd;
	sha256_init(&w->saving.pages.h);
	w->saving.n_pages = w->ops->save_pages(w->body, fd, err);
	return w->saving.n_pages < 0 ? (int)w->saving.n_pages : 0;
}

static int save_state(const struct warden *w, struct saved *info, struct mvm_error *err)
{
	AUTO_CLOSE int base_fd = openat(w->memory_dir_fd, SAVED_STATE,
					O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (base_fd < 0)
		return mvm_error_set(err, -errno, "cannot open the snapshot's device state: %s",
				     strerror(errno));
	AUTO_CLOSE int fd = new_file(w->saving.dir_fd, SAVED_STATE, err);
	int r = fd < 0 ? fd : w->ops->finish_state(w->body, base_fd, w->devices_fds[0], fd, err);
	if (r < 0)
		return r;
	r = note_file(fd, &info->state_sha256, &info->state_bytes);
	return r < 0 ? mvm_error_set(err, r, "cannot save the device state: %s", strerror(-r)) : 0;
}

/* Copy a part of the disks.  1: there is more. */
static int copy_disks(struct warden *w, struct mvm_error *err)
{
	struct warden_saving *s = &w->saving;
	bool has[OWN_DISKS];
	for (int i = 0; i < OWN_DISKS; i++)
		has[i] = w->record.disks[i].present;
	int r = own_disks_copy_some(&s->copying, has, instance_fd(w), s->dir_fd, err);
	s->copied = r == 0;
	return r;
}

static int save_info(const struct warden *w, struct saved *info, const struct wire_field *nonce,
		     struct mvm_error *err)
{
	const char *base = mvm_snapshot_info_compat(&w->revision.snapshot, "nonce_sha256");
	struct mvm_digest unused;
	char now[RFC3339_SIZE];
	if (wire_get_str(nonce, &info->nonce_sha256) < 0 ||
	    digest_parse(info->nonce_sha256, &unused) < 0)
		return mvm_error_set(err, -EPROTO, "the guest's nonce is missing");
	clock_format(clock_wall_ns() / NS_PER_S, now);
	info->base_nonce_sha256 = strdup(base ? base : "");
	info->saved_at = strdup(now);
	info->machine_id = strdup(w->record.machine_id ? w->record.machine_id : "");
	if (!info->base_nonce_sha256 || !info->saved_at || !info->machine_id)
		return mvm_error_oom(err);
	return saved_write(w->saving.dir_fd, info, err);
}

/* A supervisor that a guest has broken into must not fill the host's disk with states of forks. */
static int check_forks(const struct warden *w, struct mvm_error *err)
{
	AUTO_DONE(strv) all = { 0 };
	size_t n = 0;
	int r = dir_list(instance_fd(w), &all);
	if (r < 0)
		return mvm_error_set(err, r, "cannot list the instance's folder: %s", strerror(-r));
	for (size_t i = 0; i < all.n; i++)
		n += name_is_unique(all.v[i], SAVED_FORK);
	if (n < FORKS_MAX)
		return 0;
	return mvm_error_set(err, -EBUSY, "%u forks of it are starting already: try again",
			     FORKS_MAX);
}

/* From here on the VM is suspended. */
static int publish_suspended(struct warden *w)
{
	struct warden_saving *s = &w->saving;
	int r = 0;
	if (renameat2(instance_fd(w), s->name, instance_fd(w), SAVED_DIR, RENAME_NOREPLACE) < 0)
		r = -errno;
	w->suspended = r == 0;
	if (r == 0)
		r = dir_sync(instance_fd(w));
	/* after this failure the guest runs on, so nobody may resume this state; if its folder
	 * keeps the name, the VM is suspended and the guest must not run on */
	if (r < 0 && w->suspended) {
		w->suspended = renameat2(instance_fd(w), SAVED_DIR, instance_fd(w), s->name,
					 RENAME_NOREPLACE) < 0;
		r = w->suspended ? 0 : r;
	}
	return r;
}

/* Give the whole folder its name. */
static int publish(struct warden *w, bool fork, struct line_message *ret, struct mvm_error *err)
{
	struct warden_saving *s = &w->saving;
	char name[sizeof(s->name)] = SAVED_DIR;
	int r = 0;
	if (fork)
		r = rename_unique_at(instance_fd(w), s->name, instance_fd(w), SAVED_FORK, name);
	else
		r = publish_suspended(w);
	if (r < 0)
		return mvm_error_set(err, r, "cannot keep the VM's state: %s", strerror(-r));
	forget_saving(w);
	wire_put_str(&ret->fields, TAG_TEXT, name);
	return 0;
}

/* Publish the state unless the snapshot has changed: nothing could go on from it then. */
static int publish_checked(struct warden *w, bool fork, struct line_message *ret,
			   struct mvm_error *err)
{
	int r = check_snapshot(w, err);
	return r < 0 ? r : publish(w, fork, ret, err);
}

/* Publish a state that lasts.  Whoever replaces the snapshot does so before we look, or finds a
 * suspended VM (template/holder.h). */
static int publish_held(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	int lease_fd = w->given->fd[SUPERVISOR_FD_LEASE];
	int r = saved_sync(w->saving.dir_fd);
	if (r < 0)
		return mvm_error_set(err, r, "cannot keep the VM's state: %s", strerror(-r));
	r = store_hold_snapshot(lease_fd, w->record.revision);
	if (r < 0)
		return mvm_error_set(err, r, "cannot hold the snapshot that it needs: %s",
				     r == -EBUSY ? "it is replaced at this moment" : strerror(-r));
	r = publish_checked(w, false, ret, err);
	store_let_go_snapshot(lease_fd, w->record.revision);
	return r;
}

/* Drop the state that could not be kept.  If the disk was full, say how much room it needs. */
static int give_up(struct warden *w, int r, bool fork, struct mvm_error *err)
{
	uint64_t bytes = needed_bytes(w, fork); /* before its files go */
	drop_saving(w);
	return explain_room(w, r, bytes, err);
}

/* Copy the pages and, in parts, the disks: only this needs a guest that stands still. */
static int answer_copy(struct warden *w, bool disks, struct line_message *ret,
		       struct mvm_error *err)
{
	struct warden_saving *s = &w->saving;
	if (!s->name[0] || (s->pages_fd >= 0 && (!disks || s->copied)))
		return mvm_error_set(err, -EPROTO, "no state is being saved");
	int r = s->pages_fd < 0 ? save_pages(w, err) : 0;
	if (r == 0 && disks)
		r = copy_disks(w, err);
	wire_put_u64(&ret->fields, TAG_NUMBER, r > 0);
	return r < 0 ? give_up(w, r, disks, err) : 0;
}

/* Note the memory's digest, a part of it at each call.  1: there is more. */
static int note_pages(struct warden *w, struct mvm_error *err)
{
	struct warden_saving *s = &w->saving;
	struct mvm_digest digest;
	char hex[DIGEST_HEX_SIZE];
	if (s->info.pages_sha256)
		return 0;
	int r = sha256_fd_some(&s->pages, s->pages_fd, PART_BYTES, &digest);
	if (r == 0) {
		digest_hex(&digest, hex);
		s->info.pages_sha256 = strdup(hex);
		s->info.pages_bytes = s->pages.at;
		r = s->info.pages_sha256 ? 0 : -ENOMEM;
	}
	return r < 0 ? mvm_error_set(err, r, "cannot save the memory: %s", strerror(-r)) : r;
}

/* Note the disks of a VM that is being suspended, a part of them at each call.  1: there is
 * more. */
static int note_disks(struct warden *w, struct mvm_error *err)
{
	struct warden_saving *s = &w->saving;
	/* before the disks' ctimes are noted */
	if (w->ops->take_back && w->body && s->noting.disk == 0 && s->noting.fd < 0)
		w->ops->take_back(w->body);
	return saved_note_disks(instance_fd(w), &s->noting, &s->info, err);
}

static int note_some(struct warden *w, bool disks, struct mvm_error *err)
{
	int r = note_pages(w, err);
	return r == 0 && disks ? note_disks(w, err) : r;
}

static int answer_read(struct warden *w, bool disks, struct line_message *ret,
		       struct mvm_error *err)
{
	if (w->saving.pages_fd < 0)
		return mvm_error_set(err, -EPROTO, "no state is being saved");
	int r = note_some(w, disks, err);
	wire_put_u64(&ret->fields, TAG_NUMBER, r > 0);
	return r < 0 ? give_up(w, r, false, err) : 0;
}

static int answer_end(struct warden *w, const struct line_message *asked, bool fork,
		      struct line_message *ret, struct mvm_error *err)
{
	struct saved *info = &w->saving.info;
	struct wire_field nonce;
	if (w->saving.pages_fd < 0 || (fork && !w->saving.copied) ||
	    wire_find(asked->fields.data, asked->fields.len, TAG_TEXT, &nonce) <= 0)
		return mvm_error_set(err, -EPROTO, "no state is being saved");
	info->n_pages = (uint64_t)w->saving.n_pages;
	int r = fork ? check_forks(w, err) : 0;
	if (r < 0)
		return give_up(w, r, fork, err);
	r = save_state(w, info, err);
	while (r == 0 && (r = note_some(w, !fork, err)) > 0)
		r = 0; /* the parts that the supervisor has not asked for */
	if (r == 0)
		r = save_info(w, info, &nonce, err);
	if (r == 0)
		r = fork ? publish_checked(w, true, ret, err) : publish_held(w, ret, err);
	return r < 0 ? give_up(w, r, fork, err) : 0;
}

static void answer_drop(struct warden *w, const struct line_message *asked)
{
	char name[sizeof(w->saving.name)];
	struct wire_field f;
	if (wire_find(asked->fields.data, asked->fields.len, TAG_TEXT, &f) <= 0)
		drop_saving(w);
	else if (take_chars(name, sizeof(name), &f) && name_is_unique(name, SAVED_FORK))
		tree_remove_at(instance_fd(w), name);
}

int saved_answer(struct warden *w, const struct line_message *asked, struct line_message *ret,
		 struct mvm_error *err)
{
	uint64_t number = 0;
	wire_find_u64(asked->fields.data, asked->fields.len, TAG_NUMBER, UINT64_MAX, &number);
	switch ((enum warden_saved_question)asked->what) {
	case ASK_SAVE_BEGIN:
		return answer_begin(w, ret, err);
	case ASK_SAVE_COPY:
		return answer_copy(w, number != 0, ret, err);
	case ASK_SAVE_SUSPEND:
	case ASK_SAVE_FORK:
		return answer_end(w, asked, asked->what == ASK_SAVE_FORK, ret, err);
	case ASK_SAVE_DROP:
		answer_drop(w, asked);
		return 0;
	case ASK_LOAD_SAVED:
		return continue_answer_load(w, ret, err);
	case ASK_USE_SAVED:
		return continue_answer_use(w, number, err);
	case ASK_SAVE_READ:
		return answer_read(w, number != 0, ret, err);
	}
	return mvm_error_set(err, -EPROTO, "the warden does not know question %d", asked->what);
}

void saved_done_with(struct warden *w)
{
	drop_saving(w);
	close_devices(w);
	continue_close(w);
}
