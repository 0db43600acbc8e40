/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_INSTANCES_H
#define SERVICE_V1_INSTANCES_H

/* The work of the routes below /v1/instances; instances.c has their table.  All run on a worker. */

#include <mvm/instance.h>

#include "request.h"

/* Leave the instance's record as the answer. */
int answer_instance(struct request *rq, struct mvm *mvm, unsigned status, const char *name,
		    struct mvm_error *err);

/* Is the query's `state`, if there is one, a state?  Any thread. */
int query_state(const struct request *rq, struct mvm_error *err);

/* start.c */
int work_start(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_start_again(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_restart(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_fork(struct request *rq, struct mvm *mvm, struct mvm_error *err);

/* change.c */
int work_stop(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_kill(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_pause(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_resume(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_suspend(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_ttl(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_rename(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_network(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int work_commit(struct request *rq, struct mvm *mvm, struct mvm_error *err);

/* Is the text one of n words?  Its index, or -EINVAL naming the member.  NULL, when the member is
 * not given, is the first word. */
int word_of(const char *member, const char *text, const char *const *words, size_t n,
	    struct mvm_error *err);

#endif
