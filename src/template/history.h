/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_HISTORY_H
#define TEMPLATE_HISTORY_H

/* The revisions of a template in the order in which they were built. */

#include "model/template.h"

#include "start/context.h"
#include "store/revision.h"

struct history_entry {
	char name[MVM_REVISION_SIZE];
	int64_t built_ns; /* since 1970; a guess when revision.json is unreadable */
	int64_t built_at; /* from revision.json, in seconds; 0 if unknown */
	int code;	  /* why revision.json is unreadable, negative errno; 0: it was read */
	bool foreign;	  /* a folder that mvm did not make */
};

struct history {
	struct history_entry *v; /* newest first */
	size_t n;
	char current[MVM_REVISION_SIZE]; /* "" without a current revision */
};

void history_done(struct history *h);
DEFINE_AUTO_DONE(history, history_done)

int history_load(struct mvm *mvm, const char *id, struct history *ret, struct mvm_error *err);

/* The disk space of a revision's files, shared files included. */
uint64_t revision_disk_bytes(int dir_fd);

#endif
