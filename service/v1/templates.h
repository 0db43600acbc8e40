/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_TEMPLATES_H
#define SERVICE_V1_TEMPLATES_H

/* The work of the routes below /v1/templates that takes long; templates.c has their table.  All run
 * on a worker. */

#include "request.h"

int work_build(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_snapshot(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_drop_snapshot(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_image(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_push(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_pull(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_rollback(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_verify(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_prune(struct request *rq, struct mvm *mvm, struct mvm_error *err);

/* "ID" of the path, or "ID@REVISION" with the query's or body's `revision`. */
char *template_ref(const struct request *rq, const char *revision);

#endif
