/* SPDX-License-Identifier: Apache-2.0 */
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "etc.h"

#define RUN_DIR	     "/run/mvm"
#define BOOT_ID_FILE RUN_DIR "/boot_id"
#define BOOT_ID_PROC "/proc/sys/kernel/random/boot_id"
#define UUID_PROC    "/proc/sys/kernel/random/uuid"

bool identity_hostname_ok(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && len <= HOSTNAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") ==
		       len &&
	       name[0] != '-' && name[0] != '.';
}

bool identity_machine_id_ok(const char *id)
{
	return strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32;
}

/* random(4): the count is in bits, and credited, since the host's generator made them. */
static int add_entropy(const uint8_t *data, size_t len, struct mvm_error *err)
{
	union {
		struct rand_pool_info info; /* ends in the bytes themselves */
		uint8_t room[sizeof(struct rand_pool_info) + ENTROPY_MAX];
	} pool = { .info = { .entropy_count = (int)len * 8, .buf_size = (int)len } };
	memcpy(pool.room + sizeof(pool.info), data, len);

	AUTO_CLOSE int fd = open("/dev/random", O_RDONLY | O_CLOEXEC);
	int r = 0;
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		r = mvm_error_set(err, -errno, "cannot add entropy: %s", strerror(errno));
	explicit_bzero(&pool, sizeof(pool));
	return r;
}

static int set_clock(uint64_t wall_ns, struct mvm_error *err)
{
	struct timespec ts = {
		.tv_sec = (time_t)(wall_ns / (uint64_t)NS_PER_S),
		.tv_nsec = (long)(wall_ns % (uint64_t)NS_PER_S),
	};
	if (clock_settime(CLOCK_REALTIME, &ts) < 0)
		return mvm_error_set(err, -errno, "cannot set the clock: %s", strerror(errno));
	return 0;
}

static int set_hostname(const char *name, struct mvm_error *err)
{
	if (!identity_hostname_ok(name))
		return mvm_error_set(err, -EINVAL, "'%s' is no hostname", name);
	if (sethostname(name, strlen(name)) < 0)
		return mvm_error_set(err, -errno, "cannot set the hostname: %s", strerror(errno));
	etc_set_hostname(name);
	return 0;
}

static int set_machine_id(const char *id, struct mvm_error *err)
{
	char line[34];
	if (!identity_machine_id_ok(id))
		return mvm_error_set(err, -EINVAL, "'%s' is no machine id", id);
	(void)snprintf(line, sizeof(line), "%s\n", id);
	etc_write("machine-id", line, 0444);
	return 0;
}

static int set_generation(const char *generation, struct mvm_error *err)
{
	AUTO_CLOSE int dir = dir_make_at(AT_FDCWD, RUN_DIR);
	AUTO_FREE char *line = str_printf("%s\n", generation);
	if (!line)
		return mvm_error_oom(err);
	int r = dir < 0 ? dir : file_replace_at(dir, dir, "generation", line, strlen(line), 0444);
	if (r == 0 && fchmod(dir, 0755) < 0)
		r = -errno;
	return r < 0 ? mvm_error_set(err, r, "cannot write " RUN_DIR "/generation: %s",
				     strerror(-r))
		     : 0;
}

int identity_apply(const struct request *q, struct mvm_error *err)
{
	int r = 0;
	if (q->entropy_len > 0)
		r = add_entropy(q->entropy, q->entropy_len, err);
	if (r == 0 && q->time_ns > 0)
		r = set_clock(q->time_ns, err);
	if (r == 0 && q->hostname)
		r = set_hostname(q->hostname, err);
	if (r == 0 && q->machine_id)
		r = set_machine_id(q->machine_id, err);
	if (r == 0 && q->generation)
		r = set_generation(q->generation, err);
	return r;
}

static int write_boot_id(void)
{
	char uuid[64];
	AUTO_CLOSE int from = open(UUID_PROC, O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int dir = dir_make_at(AT_FDCWD, RUN_DIR);
	if (from < 0 || dir < 0)
		return from < 0 ? -errno : dir;
	ssize_t n = read(from, uuid, sizeof(uuid));
	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	/* in place: a mount shows the file that it was made of, not its successor */
	AUTO_CLOSE int to = open(BOOT_ID_FILE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
	return to < 0 ? -errno : file_write_all(to, uuid, (size_t)n);
}

int identity_new_boot_id(bool again, struct mvm_error *err)
{
	int r = write_boot_id();
	if (r == 0 && !again && mount(BOOT_ID_FILE, BOOT_ID_PROC, NULL, MS_BIND, NULL) < 0)
		r = -errno;
	return r < 0 ? mvm_error_set(err, r, "cannot renew the boot id: %s", strerror(-r)) : 0;
}
