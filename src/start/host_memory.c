/* SPDX-License-Identifier: Apache-2.0 */
#include "start/host_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "instance/confine.h"
#include "instance/record.h"
#include "model/name.h"
#include "start/context.h"

#define FILE_MAX ((size_t)64 * 1024)

/* Files of /proc and cgroupfs have no size, so read them to their end. */
static char *read_text(const char *dir, const char *name)
{
	AUTO_FREE char *path = str_printf("%s/%s", dir, name);
	char *text = NULL;
	AUTO_CLOSE int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	return fd >= 0 && file_read_fd(fd, FILE_MAX, &text, NULL) >= 0 ? text : NULL;
}

/* The number behind "key" at the beginning of a line. */
static bool number_of(const char *text, const char *key, uint64_t *ret)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (str_starts(line, key)) {
			*ret = strtoull(line + strlen(key), NULL, 10);
			return true;
		}
	}
	return false;
}

/* Lower the limits in m to this cgroup's, if they are lower. */
static void consider_cgroup(const char *path, struct host_memory *m)
{
	AUTO_FREE char *max = read_text(path, "memory.max");
	AUTO_FREE char *current = read_text(path, "memory.current");
	AUTO_FREE char *stat = read_text(path, "memory.stat");
	uint64_t limit, used, cache = 0;

	if (!max || !current || !number_of(max, "", &limit) || str_starts(max, "max") ||
	    !number_of(current, "", &used))
		return;
	if (limit < m->limit_bytes) {
		m->limit_bytes = limit;
		m->cgroup = true;
	}
	if (stat && number_of(stat, "file ", &cache)) /* the kernel drops it when needed */
		used -= cache < used ? cache : used;
	uint64_t left = used < limit ? limit - used : 0;
	if (left < m->available_bytes)
		m->available_bytes = left;
}

int host_memory_from(const char *meminfo, const char *mount, const char *path,
		     struct host_memory *ret)
{
	struct host_memory m = { 0 };
	AUTO_FREE char *at = path ? strdup(path) : NULL;

	if (!number_of(meminfo, "MemTotal:", &m.limit_bytes) ||
	    !number_of(meminfo, "MemAvailable:", &m.available_bytes))
		return -ENODATA;
	m.limit_bytes *= 1024;
	m.available_bytes *= 1024;
	if (number_of(meminfo, "SwapFree:", &m.swap_bytes))
		m.swap_bytes *= 1024;
	while (at && str_starts(at, mount)) {
		consider_cgroup(at, &m);
		char *slash = strrchr(at, '/');
		if (!slash || strlen(at) <= strlen(mount))
			break;
		*slash = '\0';
	}
	*ret = m;
	return 0;
}

int host_memory_read(struct host_memory *ret)
{
	AUTO_FREE char *meminfo = read_text("/proc", "meminfo");
	AUTO_FREE char *cgroup = confine_own_cgroup();
	return meminfo ? host_memory_from(meminfo, CONFINE_MOUNT, cgroup, ret) : -ENODATA;
}

int host_memory_check(uint32_t mem_mib, struct mvm_error *err)
{
	struct host_memory m;
	char wanted[32], limit[32];

	if (host_memory_read(&m) < 0 || (uint64_t)mem_mib << 20 <= m.limit_bytes)
		return 0;
	str_bytes((uint64_t)mem_mib << 20, wanted, sizeof(wanted));
	str_bytes(m.limit_bytes, limit, sizeof(limit));
	int r = mvm_error_set(err, -EINVAL, "%s of memory: %s %s", wanted,
			      m.cgroup ? "the cgroup of this process has" : "this host has", limit);
	return mvm_error_reason(err, r, "host-memory-full", NULL);
}

int host_memory_check_many(const struct host_memory *m, uint32_t n, uint64_t least_bytes,
			   struct mvm_error *err)
{
	uint64_t room_bytes = m->available_bytes + m->swap_bytes;
	char least[32], room[32];

	if (least_bytes == 0 || n <= room_bytes / least_bytes)
		return 0;
	str_bytes(least_bytes, least, sizeof(least));
	str_bytes(room_bytes, room, sizeof(room));
	int r = mvm_error_set(err, -ENOMEM,
			      "%" PRIu32 " VMs do not fit: each takes at least %s, and the %s of "
			      "available memory are enough for %" PRIu64,
			      n, least, room, room_bytes / least_bytes);
	return mvm_error_reason(err, r, "host-memory-full", NULL);
}

/* Read a VMM's private memory.  false: it has ended.  Source: proc_pid_statm(5). */
static bool taken_bytes(int64_t vmm_pid, uint64_t *ret)
{
	char dir[48];
	unsigned long long size, resident, shared;

	snprintf(dir, sizeof(dir), "/proc/%" PRId64, vmm_pid);
	AUTO_FREE char *text = read_text(dir, "statm");
	/* NOLINTNEXTLINE(cert-err34-c): the kernel prints numbers of these types */
	if (!text || sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3 ||
	    resident < shared)
		return false;
	*ret = (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

/* How much more memory one instance may come to take. */
static uint64_t promised_bytes(int instances_fd, const char *name)
{
	uint32_t mem_mib;
	int64_t vmm_pid;
	uint64_t taken = 0;

	if (record_read_memory(instances_fd, name, &mem_mib, &vmm_pid) < 0 ||
	    (vmm_pid > 0 && !taken_bytes(vmm_pid, &taken)))
		return 0;
	uint64_t whole = (uint64_t)mem_mib << 20;
	return taken < whole ? whole - taken : 0;
}

/* How much more the running instances may come to take.  A sum above the limit is not the whole:
 * every start asks, with hundreds of instances. */
static uint64_t all_promised_bytes(struct mvm *mvm, uint64_t limit_bytes)
{
	AUTO_DONE(strv) names = { 0 };
	uint64_t sum = 0;

	if (store_dir_names(mvm->store, STORE_INSTANCES, &names, NULL) < 0)
		return 0;
	int fd = store_dir(mvm->store, STORE_INSTANCES);
	for (size_t i = 0; i < names.n && sum <= limit_bytes; i++)
		sum += name_valid(NAME_INSTANCE, names.v[i]) ? promised_bytes(fd, names.v[i]) : 0;
	return sum;
}

void host_memory_note(struct mvm *mvm, const struct host_memory *m, uint32_t mem_mib, uint32_t n,
		      const struct mvm_progress *progress)
{
	char promised[32], wanted[32], available[32];

	if (!progress)
		return;
	uint64_t new_bytes = ((uint64_t)mem_mib << 20) * n;
	uint64_t left = new_bytes < m->available_bytes ? m->available_bytes - new_bytes : 0;
	uint64_t old_bytes = all_promised_bytes(mvm, left);
	if (old_bytes + new_bytes <= m->available_bytes)
		return;
	str_bytes(new_bytes, wanted, sizeof(wanted));
	str_bytes(old_bytes, promised, sizeof(promised));
	str_bytes(m->available_bytes, available, sizeof(available));
	progress_note(progress,
		      "memory may run out: %s may take %s and the running VMs at least %s more, "
		      "but only %s are available",
		      n > 1 ? "these VMs" : "this VM", wanted, promised, available);
}
