/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PS_FILTER_H
#define CLI_PS_FILTER_H

/* The filters of `ps`. */

#include <mvm/instance.h>

#include "base/str.h"
#include "command.h"

#define PS_STATES "starting|running|paused|exited|failed"
#define PS_HEALTH "none|starting|healthy|unhealthy"

/*
 * Does an instance pass the filters?  Each is KEY=VALUE; values of one key are alternatives, and
 * every key must match.  Labels are different, as for docker: an instance must have all of them.
 *
 *   name                              a part of it
 *   state or status, health, template the whole word
 *   exited                            the status with which it has ended
 *   label                             KEY, or KEY=VALUE
 *
 *   info  NULL: only look for mistakes
 *
 * Returns 1, 0, or -EINVAL (wrong usage) for an unknown filter.
 */
int ps_passes(struct cli_context *c, const struct strv *filters,
	      const struct mvm_instance_info *info);

#endif
