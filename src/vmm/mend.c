/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/mend.h"

#include <string.h>
#include <unistd.h>

#include "base/str.h"

static const char get_firecracker[] =
	"put firecracker, from https://github.com/firecracker-microvm/firecracker/releases, on "
	"PATH, or name it with MVM_FIRECRACKER";

const char *mend_as_root(const char *command)
{
	return geteuid() == 0 ? command + strlen("sudo ") : command;
}

const char *mend_backend(const struct vmm_ops *ops, const struct vmm_probe *probe)
{
	if (probe->accel != VMM_ACCEL_KVM && (probe->usable || probe->binary))
		return "mvm doctor"; /* it says what is the matter with KVM */
	if (probe->usable)
		return NULL;
	return str_eq(ops->name, "firecracker") ? get_firecracker : mend_as_root(MEND_INSTALL_QEMU);
}
