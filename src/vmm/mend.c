/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/mend.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static const char get_firecracker[] =
	"put firecracker, from https://github.com/firecracker-microvm/firecracker/releases, on "
	"PATH, or name it with MVM_FIRECRACKER";

static const char get_jailer[] =
	"put the jailer of the same release beside firecracker, or name it with MVM_JAILER";

const char *mend_as_root(const char *command)
{
	return geteuid() == 0 ? command + strlen("sudo ") : command;
}

bool mend_is_kvm(const struct vmm_ops *ops, const struct vmm_probe *probe)
{
	bool firecracker = str_eq(ops->name, "firecracker");
	bool named = ops->binary_env && !str_empty(getenv(ops->binary_env));
	bool found = probe->usable || probe->binary;

	/* without KVM, a Firecracker would not help */
	return probe->accel != VMM_ACCEL_KVM && (found || (firecracker && !named));
}

const char *mend_backend(const struct vmm_ops *ops, const struct vmm_probe *probe)
{
	bool firecracker = str_eq(ops->name, "firecracker");

	if (probe->usable || mend_is_kvm(ops, probe))
		return NULL;
	if (firecracker && probe->binary_digest) /* usable, but refused to this user */
		return get_jailer;
	return firecracker ? get_firecracker : mend_as_root(MEND_INSTALL_QEMU);
}
