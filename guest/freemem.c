/* SPDX-License-Identifier: Apache-2.0 */
#include "freemem.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "base/clock.h"

#define RESERVE_MIN (UINT64_C(8) << 20)
#define CHUNK	    (1u << 20)
#define TIME_MAX_MS 10000 /* a page takes 40 us under TCG, 200 on a busy host; 1 us under KVM */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* linux/mman-common.h, since Linux 5.14 */
#endif

static uint64_t spare_bytes(void)
{
	struct sysinfo info;
	if (sysinfo(&info) < 0)
		return 0;
	uint64_t free_bytes = (uint64_t)info.freeram * info.mem_unit;
	uint64_t reserve = (uint64_t)info.totalram * info.mem_unit / 16;
	if (reserve < RESERVE_MIN)
		reserve = RESERVE_MIN;
	return free_bytes > reserve ? free_bytes - reserve : 0;
}

static void touch(char *at, size_t len)
{
	if (madvise(at, len, MADV_POPULATE_WRITE) == 0)
		return;
	for (size_t i = 0; i < len; i += 4096)
		((volatile char *)at)[i] = 0;
}

uint64_t freemem_zero(uint64_t bytes)
{
	int64_t deadline_ns = clock_deadline_ns(TIME_MAX_MS);
	uint64_t spare = spare_bytes(), done = 0;
	size_t len = (size_t)(bytes < spare ? bytes : spare);
	char *at = len < CHUNK ? MAP_FAILED
			       : mmap(NULL, len, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return 0;
	madvise(at, len, MADV_NOHUGEPAGE); /* EINVAL: the kernel has no huge pages */
	while (done + CHUNK <= len && clock_now_ns() < deadline_ns) {
		touch(at + done, CHUNK);
		done += CHUNK;
	}
	munmap(at, len);
	return done;
}
