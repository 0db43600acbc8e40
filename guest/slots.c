/* SPDX-License-Identifier: Apache-2.0 */
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "base/error.h"
#include "base/file.h"
#include "cgroup.h"
#include "etc.h"
#include "identity.h"

#define SLOTS_DIR     "/run/mvm"
#define SLOT_TEXT_MAX (256u << 10)
#define PAGE	      ((size_t)4096)

#define FASTOPEN_KEY_SIZE 80 /* two keys of 35 characters, a comma, a newline, a NUL */

static const struct {
	const char *name;  /* in SLOTS_DIR */
	const char *place; /* path that the guest reads; NULL: the file itself */
} places[SLOT_COUNT] = {
	[SLOT_HOSTNAME] = { "hostname", "/etc/hostname" },
	[SLOT_HOSTS] = { "hosts", "/etc/hosts" },
	[SLOT_MACHINE_ID] = { "machine-id", "/etc/machine-id" },
	[SLOT_BOOT_ID] = { "boot_id", "/proc/sys/kernel/random/boot_id" },
	[SLOT_GENERATION] = { "generation", NULL },
};

static bool is_mounted_there(int fd, const char *place)
{
	struct stat ours, theirs;
	return fstat(fd, &ours) == 0 && stat(place, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
	       ours.st_ino == theirs.st_ino;
}

/* Read the file's current text, which the snapshot's copy starts with. */
static int read_place(struct slots *s, enum slot which, struct strbuf *ret)
{
	const char *place = places[which].place;
	AUTO_FREE char *text = NULL;
	size_t len = 0;

	/* read as a stream, since files in /proc have no size */
	AUTO_CLOSE int old = open(place ? place : SLOTS_DIR "/generation", O_RDONLY | O_CLOEXEC);
	int r = old < 0 ? -errno : file_read_fd(old, SLOT_TEXT_MAX, &text, &len);
	if (r < 0 && r != -ENOENT)
		return r;
	if (which == SLOT_HOSTS) { /* clones replace the last line */
		char name[HOSTNAME_MAX + 1] = "";
		s->hosts_in_order = text && etc_hosts_in_order(text);
		etc_hosts_common(text, ret);
		s->hosts_common = ret->len;
		if (gethostname(name, sizeof(name)) < 0 || !name[0])
			snprintf(name, sizeof(name), "localhost");
		etc_hosts_add(ret, name);
	} else {
		strbuf_add(ret, text, len);
	}
	return ret->failed ? -ENOMEM : 0;
}

/* Map the file and write to each page once, so that the page table has it.  If this fails, clones
 * are only slower. */
static void map_slot(struct slots *s, enum slot which)
{
	size_t room = (s->sizes[which] + PAGE - 1) / PAGE * PAGE;
	if (room == 0)
		return; /* an empty file has no page to map */
	char *at = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, s->fds[which], 0);
	if (at == MAP_FAILED)
		return;
	for (size_t i = 0; i < s->sizes[which]; i += PAGE)
		*(volatile char *)(at + i) = at[i];
	s->maps[which] = at;
	s->rooms[which] = room;
}

/* Copy the file, open the copy, and mount it over the file. */
static int open_slot(struct slots *s, enum slot which, int dir_fd)
{
	const char *name = places[which].name, *place = places[which].place;
	AUTO_DONE(strbuf) text = { 0 };

	int r = read_place(s, which, &text);
	if (r < 0)
		return r;
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	r = ftruncate(fd, 0) < 0 ? -errno : 0;
	if (r == 0)
		r = file_write_all(fd, text.data ? text.data : "", text.len);
	if (r == 0 && fchmod(fd, 0444) < 0)
		r = -errno;
	if (r < 0)
		return r;
	if (place && !is_mounted_there(fd, place)) {
		char path[FD_PATH_SIZE];
		fd_path(fd, path);
		if (mount(path, place, NULL, MS_BIND, NULL) < 0)
			return -errno;
	}
	s->sizes[which] = text.len;
	s->fds[which] = TAKE_FD(fd);
	map_slot(s, which);
	return 0;
}

/* Open the key of TCP Fast Open, which Linux makes when a server first uses it.  -1: there is no
 * key. It is the only secret of Linux's TCP that can be replaced: the secrets for sequence numbers,
 * timestamps and ports cannot. */
static int open_fastopen_key(void)
{
	char text[FASTOPEN_KEY_SIZE] = "";
	AUTO_CLOSE int fd = open("/proc/sys/net/ipv4/tcp_fastopen_key", O_RDWR | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || strspn(text, "0-\n") == strlen(text))
		return -1;
	return TAKE_FD(fd);
}

static int renew_fastopen_key(const struct slots *s, struct mvm_error *err)
{
	uint32_t k[4];
	char text[FASTOPEN_KEY_SIZE];
	if (s->fastopen_fd < 0)
		return 0;
	random_bytes(k, sizeof(k));
	int n = snprintf(text, sizeof(text), "%08x-%08x-%08x-%08x", k[0], k[1], k[2], k[3]);
	if (pwrite(s->fastopen_fd, text, (size_t)n, 0) < 0)
		return mvm_error_set(err, -errno, "cannot replace the key of TCP Fast Open: %s",
				     strerror(errno));
	return 0;
}

int slots_prepare(struct slots *s, int cgroup_fd, struct mvm_error *err)
{
	slots_done(s);
	s->ready = true;
	s->random_fd = open("/dev/random", O_RDONLY | O_CLOEXEC);
	s->fastopen_fd = open_fastopen_key();
	for (size_t i = 0; i < SLOT_COUNT; i++)
		s->fds[i] = -1;
	AUTO_CLOSE int dir_fd = dir_make_at(AT_FDCWD, SLOTS_DIR);
	int r = dir_fd < 0 ? dir_fd : 0;
	if (r == 0 && fchmod(dir_fd, 0755) < 0)
		r = -errno;
	if (r == 0 && s->random_fd < 0)
		r = -ENODEV;
	if (r == 0)
		r = cgroup_open_freezers(cgroup_fd, AGENT_CGROUP, &s->freeze_fds, &s->n_freeze);
	for (size_t i = 0; r == 0 && i < SLOT_COUNT; i++) {
		int failed = open_slot(s, (enum slot)i, dir_fd);
		if (failed < 0) /* an unusual /etc must not prevent snapshots */
			agent_log("clones cannot change %s: %s",
				  places[i].place ? places[i].place : places[i].name,
				  strerror(-failed));
	}
	return r < 0 ? mvm_error_set(err, r, "cannot prepare for clones: %s", strerror(-r)) : 0;
}

/* Note what a running guest may have changed: a text, its length, or the file in its place. */
static int refresh_slot(struct slots *s, enum slot which)
{
	AUTO_DONE(strbuf) text = { 0 };
	const char *place = places[which].place;
	struct stat st;
	if (s->fds[which] < 0 || fstat(s->fds[which], &st) < 0 ||
	    (place && !is_mounted_there(s->fds[which], place)))
		return -ESTALE;
	s->sizes[which] = (size_t)st.st_size;
	if (which != SLOT_HOSTS)
		return 0;
	return read_place(s, which, &text) == 0 && s->hosts_in_order ? 0 : -ESTALE;
}

static void close_freezers(struct slots *s)
{
	for (size_t i = 0; i < s->n_freeze; i++)
		close(s->freeze_fds[i]);
	free(s->freeze_fds);
	s->freeze_fds = NULL;
	s->n_freeze = 0;
}

int slots_refresh(struct slots *s, int cgroup_fd)
{
	if (!s->ready)
		return -ESTALE;
	for (size_t i = 0; i < SLOT_COUNT; i++) {
		if (refresh_slot(s, (enum slot)i) < 0)
			return -ESTALE;
	}
	close_freezers(s);
	int key = open_fastopen_key();
	if (s->fastopen_fd >= 0)
		close(s->fastopen_fd);
	s->fastopen_fd = key;
	return cgroup_open_freezers(cgroup_fd, AGENT_CGROUP, &s->freeze_fds, &s->n_freeze) < 0
		       ? -ESTALE
		       : 0;
}

/* Replace a file's text from an offset to its end. */
static int write_slot(struct slots *s, enum slot which, size_t offset, const char *text, size_t len,
		      struct mvm_error *err)
{
	int fd = s->fds[which], r = 0;
	size_t size = offset + len;
	if (fd < 0)
		return 0; /* slots_prepare() has logged that */
	if (size < s->sizes[which] && ftruncate(fd, (off_t)size) < 0)
		r = -errno;
	if (r == 0 && s->maps[which] && size <= s->sizes[which]) {
		memcpy(s->maps[which] + offset, text, len);
	} else if (r == 0) {
		ssize_t n = pwrite(fd, text, len, (off_t)offset);
		if (n < 0)
			r = -errno;
		else if ((size_t)n < len)
			r = -ENOSPC;
	}
	if (r < 0)
		return mvm_error_set(err, r, "cannot write %s: %s", places[which].name,
				     strerror(-r));
	s->sizes[which] = size;
	return 0;
}

static int write_line(struct slots *s, enum slot which, const char *text, struct mvm_error *err)
{
	char line[GENERATION_MAX + 2];
	size_t len = strlen(text);
	memcpy(line, text, len + 1); /* not by printf, which is much new code for a fresh clone */
	line[len] = '\n';
	return write_slot(s, which, 0, line, len + 1, err);
}

static int apply_hostname(struct slots *s, const char *name, struct mvm_error *err)
{
	AUTO_DONE(strbuf) line = { 0 };

	int r = identity_set_hostname(name, err);
	if (r == 0)
		r = write_line(s, SLOT_HOSTNAME, name, err);
	if (r < 0)
		return r;
	etc_hosts_add(&line, name);
	if (line.failed)
		return mvm_error_oom(err);
	return write_slot(s, SLOT_HOSTS, s->hosts_common, line.data, line.len, err);
}

/* Set the boot id: the host's, else a new UUID. */
static int apply_boot_id(struct slots *s, const char *from_host, struct mvm_error *err)
{
	char own[UUID_SIZE];

	if (from_host && !identity_boot_id_ok(from_host))
		return mvm_error_set(err, -EINVAL, "'%s' is no boot id", from_host);
	if (!from_host)
		random_uuid(own);
	return write_line(s, SLOT_BOOT_ID, from_host ? from_host : own, err);
}

int slots_apply(struct slots *s, const struct request *q, struct mvm_error *err)
{
	int r = 0;
	if (q->entropy_len > 0)
		r = identity_add_entropy(s->random_fd, q->entropy, q->entropy_len, err);
	if (r == 0)
		r = renew_fastopen_key(s, err);
	if (r == 0 && q->time_ns > 0)
		r = identity_set_clock(q->time_ns, err);
	if (r == 0 && q->hostname)
		r = apply_hostname(s, q->hostname, err);
	if (r == 0 && q->machine_id && !identity_machine_id_ok(q->machine_id))
		r = mvm_error_set(err, -EINVAL, "'%s' is no machine id", q->machine_id);
	if (r == 0 && q->machine_id)
		r = write_line(s, SLOT_MACHINE_ID, q->machine_id, err);
	if (r == 0 && q->generation)
		r = write_line(s, SLOT_GENERATION, q->generation, err);
	return r < 0 ? r : apply_boot_id(s, q->boot_id, err);
}

static int write_freezers(struct slots *s, const char *value)
{
	int result = 0;
	for (size_t i = 0; i < s->n_freeze; i++) {
		/* ENODEV: the group was empty and was removed */
		if (pwrite(s->freeze_fds[i], value, 1, 0) < 0 && errno != ENODEV && result == 0)
			result = -errno;
	}
	return result;
}

int slots_thaw(struct slots *s)
{
	return write_freezers(s, "0");
}

int slots_stay_frozen(struct slots *s)
{
	return write_freezers(s, "1");
}

void slots_done(struct slots *s)
{
	if (s->ready) {
		for (size_t i = 0; i < SLOT_COUNT; i++) {
			if (s->maps[i])
				munmap(s->maps[i], s->rooms[i]);
			if (s->fds[i] >= 0)
				close(s->fds[i]);
		}
		if (s->random_fd >= 0)
			close(s->random_fd);
		if (s->fastopen_fd >= 0)
			close(s->fastopen_fd);
	}
	close_freezers(s);
	*s = (struct slots){ 0 };
}
