/* SPDX-License-Identifier: Apache-2.0 */
#include "base/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"

/* Every kernel with 4 KiB pages takes it; one with larger pages since Linux 6.3. */
#define BLOCK_SIZE  4096u
#define DIGEST_SIZE 32u

static int enable(int fd)
{
	const struct fsverity_enable_arg how = {
		.version = 1,
		.hash_algorithm = FS_VERITY_HASH_ALG_SHA256,
		.block_size = BLOCK_SIZE,
	};
	return ioctl(fd, FS_IOC_ENABLE_VERITY, &how) < 0 ? -errno : 0;
}

int seal_file(int dir_fd, const char *path)
{
	struct stat st;
	AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	int r = enable(fd);
	/* the kernel wants somebody who may write to the file, and blobs are mode 0444 */
	if (r == -EACCES && fchmod(fd, (st.st_mode & 07777) | S_IWUSR) == 0) {
		r = enable(fd);
		fchmod(fd, st.st_mode & 07777); /* it has just worked */
	}
	return r == 0 || r == -EEXIST;
}

bool seal_read(int fd, char ret[SEAL_SIZE])
{
	union {
		struct fsverity_digest head;
		uint8_t bytes[sizeof(struct fsverity_digest) + DIGEST_SIZE];
	} seal = { .head = { .digest_size = DIGEST_SIZE } };
	if (ioctl(fd, FS_IOC_MEASURE_VERITY, &seal) < 0 ||
	    seal.head.digest_algorithm != FS_VERITY_HASH_ALG_SHA256 ||
	    seal.head.digest_size != DIGEST_SIZE)
		return false;
	char *at = stpcpy(ret, SEAL_PREFIX);
	for (size_t i = 0; i < DIGEST_SIZE; i++)
		at += sprintf(at, "%02x", seal.bytes[sizeof(seal.head) + i]);
	return true;
}
