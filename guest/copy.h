/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_COPY_H
#define GUEST_COPY_H

/*
 * CALL_PUT and CALL_GET: a command whose program is the agent itself.  A child of its own reads or
 * writes the tar stream on its pipes, so disks that are slow or full are its matter, and flow
 * control, RESET and the end are those of any command.
 */

#include "copy/unpack.h"
#include "request.h"

/* What the child does.  Returns its exit status: 0, or the errno of what its standard error says.
 */
int copy_put(const struct request *q, const struct unpack_owner *owner);
int copy_get(const struct request *q);

#endif
