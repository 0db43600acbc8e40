/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end of tests/bench/disk.py:
 *
 *	disk-guest run FOLDER MIB SECONDS    prints "NAME VALUE" lines
 *	disk-guest wait
 *
 * All but fsync goes past the guest's page cache (O_DIRECT), so that the disk is measured.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LARGE (1u << 20)
#define SMALL 4096u

static char block[LARGE] __attribute__((aligned(4096)));

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);
	must(fd >= 0, "disk-guest: open");
	return fd;
}

static void report_bytes(const char *name, double began_s, unsigned mib)
{
	printf("%s %.3f\n", name, mib * 1.048576 / (now_s() - began_s));
}

static void sequential(const char *path, unsigned mib)
{
	int fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT);
	double began_s = now_s();
	for (unsigned i = 0; i < mib; i++)
		must(write(fd, block, LARGE) == LARGE, "disk-guest: write");
	must(fsync(fd) == 0, "disk-guest: fsync");
	report_bytes("write_mb_per_s", began_s, mib);
	must(lseek(fd, 0, SEEK_SET) == 0, "disk-guest: lseek");
	began_s = now_s();
	for (unsigned i = 0; i < mib; i++)
		must(read(fd, block, LARGE) == LARGE, "disk-guest: read");
	report_bytes("read_mb_per_s", began_s, mib);
	close(fd);
}

/* what: 'r', 'w', or 'f' for a write with fdatasync() */
static void small(const char *name, const char *path, char what, unsigned mib, double seconds)
{
	int fd = open_file(path, O_RDWR | (what == 'f' ? 0 : O_DIRECT));
	uint64_t pages = (uint64_t)mib * LARGE / SMALL, n = 0, at = 12345;
	double began_s = now_s();
	while (now_s() - began_s < seconds) {
		at = at * 6364136223846793005u + 1442695040888963407u;
		off_t offset = (off_t)((at >> 33) % pages * SMALL);
		ssize_t done = what == 'r' ? pread(fd, block, SMALL, offset)
					   : pwrite(fd, block, SMALL, offset);
		must(done == SMALL, name);
		must(what != 'f' || fdatasync(fd) == 0, name);
		n++;
	}
	printf("%s %.3f\n", name, (double)n / (now_s() - began_s));
	close(fd);
}

int main(int argc, char **argv)
{
	char path[256];
	if (argc < 5) {
		for (;;)
			pause();
	}
	unsigned mib = (unsigned)atoi(argv[3]);
	double seconds = atof(argv[4]);
	snprintf(path, sizeof(path), "%s/disk-guest.tmp", argv[2]);
	memset(block, 'x', sizeof(block));
	sequential(path, mib);
	small("random_read_per_s", path, 'r', mib, seconds);
	small("random_write_per_s", path, 'w', mib, seconds);
	small("fsync_per_s", path, 'f', mib, seconds);
	return unlink(path) < 0;
}
