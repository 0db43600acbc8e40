/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_CMDLINE_H
#define VMM_CMDLINE_H

/*
 * The end of the kernel command line, which is the same for every backend.
 */

#include "vmm/vmm.h"

/*
 * Add the device names of the VM's own disks and the template's additions.
 *
 *   line       the backend's part; empty afterwards
 *   additions  may be NULL
 *   ret        the whole command line, the caller's
 *
 * Returns 0, -EINVAL (control characters, or longer than Linux reads), -ENOMEM.
 */
int cmdline_finish(struct strbuf *line, const struct vmm_config *config, const char *additions,
		   char **ret, struct mvm_error *err);

#endif
