/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_BUDGET_H
#define TEMPLATE_BUDGET_H

/*
 * Which revisions must go so that the others together take no more than a number of bytes?
 *
 *	budget_add(&b, dir_fd, built_ns, may_go);	for each revision
 *	budget_find(&b, max_bytes, &before_ns, &left);
 *
 * A file that several revisions share takes its room once, until the last of them goes.
 */

#include "store/inodes.h"

struct budget_entry;

struct budget {
	struct inodes files;	/* links: names in revisions */
	uint64_t bytes;		/* on disk */
	struct budget_entry *v; /* revisions that may go */
	size_t n, cap;
};
void budget_done(struct budget *b);
DEFINE_AUTO_DONE(budget, budget_done)

/* 0 or -ENOMEM.  A revision that cannot be read takes nothing. */
int budget_add(struct budget *b, int dir_fd, int64_t built_ns, bool may_go);

/*
 * Find the cut: revisions that may go and were built before it go, the oldest first.
 *
 *   ret_before_ns  INT64_MIN: none needs to go
 *   ret_left       bytes that are left then: more than max_bytes if all together are too few
 */
void budget_find(struct budget *b, uint64_t max_bytes, int64_t *ret_before_ns, uint64_t *ret_left);

#endif
