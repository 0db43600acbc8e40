/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "vmm/accel.h"
#include "vmm/qemu/qemu.h"

int qemu_facts_for(const struct vmm_probe *probe, const struct vmm_config *config, const char *cpu,
		   struct strv *ret, struct mvm_error *err)
{
	AUTO_FREE char *layout = NULL;
	int r = qemu_device_layout(config, &layout, err);
	if (r < 0)
		return r;
	/* microvm machines carry no version, so QEMU's own stands for the machine's */
	strv_addf(ret, "version=%s", probe->version);
	strv_addf(ret, "accelerator=%s", vmm_accel_name(probe->accel));
	strv_addf(ret, "machine=%s", qemu_machine(probe->accel));
	if (probe->accel == VMM_ACCEL_KVM)
		strv_addf(ret, "cpu=host, %s", cpu);
	else
		strv_add(ret, "cpu=" QEMU_CPU_TCG); /* emulated: the same everywhere */
	strv_addf(ret, "tsc_khz=%u", probe->tsc_khz);
	strv_addf(ret, "devices=%s", layout);
	if (config->network)
		strv_add(ret, "network=link"); /* QEMU's user network had a state of its own */
	return ret->failed ? mvm_error_oom(err) : 0;
}

int qemu_facts(const struct vmm_probe *probe, const struct vmm_config *config, struct strv *ret,
	       struct mvm_error *err)
{
	AUTO_FREE char *cpuinfo = NULL, *cpu = NULL;
	if (probe->accel == VMM_ACCEL_KVM) {
		int r = cpuinfo_read(&cpuinfo);
		if (r == 0)
			r = cpuinfo_fingerprint(cpuinfo, &cpu);
		if (r < 0)
			return mvm_error_set(err, r, "cannot read /proc/cpuinfo: %s", strerror(-r));
	}
	return qemu_facts_for(probe, config, cpu, ret, err);
}
