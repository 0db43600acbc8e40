/* SPDX-License-Identifier: Apache-2.0 */
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "etc.h"

#define RUN_DIR "/run/mvm"

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

bool identity_boot_id_ok(const char *id)
{
	size_t i = 0;
	for (; id[i]; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash ? id[i] != '-' : !strchr("0123456789abcdef", id[i]))
			return false;
	}
	return i == 36;
}

/* Add random bytes of the host and credit them.  random(4): entropy_count is in bits. */
int identity_add_entropy(int random_fd, const uint8_t *data, size_t len, struct mvm_error *err)
{
	union {
		struct rand_pool_info info; /* its last member is the bytes */
		uint8_t room[sizeof(struct rand_pool_info) + ENTROPY_MAX];
	} pool = { .info = { .entropy_count = (int)len * 8, .buf_size = (int)len } };
	memcpy(pool.room + sizeof(pool.info), data, len);

	int r = 0;
	if (ioctl(random_fd, RNDADDENTROPY, &pool) < 0 || ioctl(random_fd, RNDRESEEDCRNG) < 0)
		r = mvm_error_set(err, -errno, "cannot add entropy: %s", strerror(errno));
	explicit_bzero(&pool, sizeof(pool));
	return r;
}

int identity_set_clock(uint64_t wall_ns, struct mvm_error *err)
{
	struct timespec ts = {
		.tv_sec = (time_t)(wall_ns / (uint64_t)NS_PER_S),
		.tv_nsec = (long)(wall_ns % (uint64_t)NS_PER_S),
	};
	if (clock_settime(CLOCK_REALTIME, &ts) < 0)
		return mvm_error_set(err, -errno, "cannot set the clock: %s", strerror(errno));
	return 0;
}

int identity_set_hostname(const char *name, struct mvm_error *err)
{
	if (!identity_hostname_ok(name))
		return mvm_error_set(err, -EINVAL, "'%s' is no hostname", name);
	if (sethostname(name, strlen(name)) < 0)
		return mvm_error_set(err, -errno, "cannot set the hostname: %s", strerror(errno));
	return 0;
}

static int set_machine_id(const char *id, struct mvm_error *err)
{
	char line[34];
	if (!identity_machine_id_ok(id))
		return mvm_error_set(err, -EINVAL, "'%s' is no machine id", id);
	snprintf(line, sizeof(line), "%s\n", id);
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
	AUTO_CLOSE int random_fd = open("/dev/random", O_RDONLY | O_CLOEXEC);
	int r = 0;
	if (q->entropy_len > 0)
		r = identity_add_entropy(random_fd, q->entropy, q->entropy_len, err);
	if (r == 0 && q->time_ns > 0)
		r = identity_set_clock(q->time_ns, err);
	if (r == 0 && q->hostname)
		r = identity_set_hostname(q->hostname, err);
	if (r == 0 && q->hostname)
		etc_set_hostname(q->hostname);
	if (r == 0 && q->machine_id)
		r = set_machine_id(q->machine_id, err);
	if (r == 0 && q->generation)
		r = set_generation(q->generation, err);
	return r;
}
