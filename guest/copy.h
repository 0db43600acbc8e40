/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_COPY_H
#define GUEST_COPY_H

/*
 * CALL_PUT and CALL_GET: a command whose program is the agent itself.  A child of its own reads or
 * writes the tar stream on its pipes, so a slow or full disk stops only that child.  Flow
 * control, RESET and the end work as for any command.
 */

#include "copy/pack.h"
#include "copy/unpack.h"
#include "request.h"

/* The work of the child.  Returns its exit status: 0, or the errno of the error that it has printed
 * on standard error. */
int copy_put(const struct request *q, const struct unpack_owner *owner);
int copy_get(const struct request *q);

/* The parts of copy_get(): write a stream to standard output and describe what it left out; report
 * a result. */
int copy_send(struct pack *p, struct mvm_error *err);
int copy_report(int r, const struct mvm_error *err);

#endif
