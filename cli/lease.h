/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_LEASE_H
#define CLI_LEASE_H

/*
 * A lease on this command's VM: a file that somebody touches as long as the VM may run.
 *
 * A scheduler that has lost a host starts the job's successor elsewhere.  So the host must end the
 * VM by itself before that.  What renews the file is the scheduler's to choose: only something that
 * the scheduler causes, such as the health check that it orders, shows that the host is not lost.
 */

#include "options.h"

#define OPTION_LEASE                                                                               \
	{                                                                                          \
		.name = "lease", .kind = OPTION_STRING, .value = "TIME:FILE",                      \
		.help = "end it when nobody has touched FILE for this time, or FILE is removed "   \
			"(default: $MVM_LEASE)",                                                   \
		.group = "Life", .hint = VALUE_ANY                                                 \
	}

/*
 * Watch the lease of --lease or MVM_LEASE, if there is one, from now on.
 *
 * A thread ends this process, and so its VM, as two SIGTERM do.  It looks at changes of the file's
 * time, not at the time itself, so a step of the clock neither ends nor prolongs a lease.
 *
 * Returns 0, or a negative errno, having said why: there is no such file, or it is too old.
 */
int lease_begin(struct cli_context *c, const struct args *a);

#endif
