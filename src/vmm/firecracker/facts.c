/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "vmm/accel.h"
#include "vmm/firecracker/firecracker.h"

int fc_facts_for(const struct vmm_probe *probe, const struct vmm_config *config, const char *cpu,
		 const char *host_kernel, struct strv *ret, struct mvm_error *err)
{
	AUTO_FREE char *layout = NULL;
	int r = fc_device_layout(config, &layout, err);
	if (r < 0)
		return r;
	strv_addf(ret, "version=%s", probe->version);
	strv_addf(ret, "state_format=%s", probe->state_format ? probe->state_format : "");
	strv_addf(ret, "accelerator=%s", vmm_accel_name(probe->accel));
	strv_addf(ret, "cpu=%s", cpu);
	/* "identical software and hardware": docs/snapshotting/snapshot-support.md */
	strv_addf(ret, "host_kernel=%s", host_kernel);
	strv_addf(ret, "tsc_khz=%u", probe->tsc_khz);
	strv_addf(ret, "devices=%s", layout);
	return ret->failed ? mvm_error_oom(err) : 0;
}

int fc_facts(const struct vmm_probe *probe, const struct vmm_config *config, struct strv *ret,
	     struct mvm_error *err)
{
	AUTO_FREE char *cpuinfo = NULL, *cpu = NULL;
	struct utsname uts;
	int r = cpuinfo_read(&cpuinfo);
	if (r == 0)
		r = cpuinfo_fingerprint(cpuinfo, &cpu);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read /proc/cpuinfo: %s", strerror(-r));
	if (uname(&uts) < 0)
		return mvm_error_set(err, -errno, "uname: %s", strerror(errno));
	return fc_facts_for(probe, config, cpu, uts.release, ret, err);
}
