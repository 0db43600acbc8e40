/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/privilege.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

bool privilege_has(unsigned capability)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	return syscall(SYS_capget, &head, data) == 0 &&
	       (data[capability / 32].effective & (1u << capability % 32)) != 0;
}

int privilege_keep_only(uint64_t capabilities)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		uint32_t set = (uint32_t)(capabilities >> 32 * i);
		data[i] = (struct __user_cap_data_struct){ set, set, set };
	}
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}
