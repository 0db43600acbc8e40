/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rlimit.h"

#include <errno.h>
#include <sys/resource.h>

int rlimit_lower(int what, uint64_t most)
{
	struct rlimit now;
	if (getrlimit((__rlimit_resource_t)what, &now) < 0)
		return -errno;
	if (now.rlim_max > most)
		now.rlim_max = most;
	now.rlim_cur = now.rlim_max;
	return setrlimit((__rlimit_resource_t)what, &now) < 0 ? -errno : 0;
}

void rlimit_raise(int what)
{
	struct rlimit now;
	if (getrlimit((__rlimit_resource_t)what, &now) < 0)
		return;
	now.rlim_cur = now.rlim_max;
	setrlimit((__rlimit_resource_t)what, &now);
}

int rlimit_lower_all(const struct rlimit_most *limits, size_t n)
{
	int r = 0;
	for (size_t i = 0; i < n && r == 0; i++)
		r = rlimit_lower(limits[i].what, limits[i].most);
	return r;
}
