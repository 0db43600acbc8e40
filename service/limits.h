/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_LIMITS_H
#define SERVICE_LIMITS_H

/*
 * What each token may use: requests a second, and instances with their vCPUs and memory.
 *
 * Instances know whose they are by the label LIMITS_LABEL, so a restart of mvmd forgets nothing.
 * Starts that are under way have no instance yet.  They count by a claim:
 *
 *	r = limits_claim(limits, client, mvm, n, vcpus, mem_mib, &claim, err);
 *	if (r == 0)
 *		r = mvm_instance_start(...);	with client_label() among the labels
 *	limits_release(limits, &claim);
 */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/token.h>
#include <stdbool.h>
#include <stdint.h>

#define LIMITS_LABEL	  "mvmd.token"
#define CLIENT_NAME_SIZE  64
#define CLIENT_LABEL_SIZE (CLIENT_NAME_SIZE + sizeof(LIMITS_LABEL))

/* Who asks. */
struct client {
	char token[CLIENT_NAME_SIZE]; /* the token's name; "": the owner at the Unix socket */
	enum mvm_token_scope scope;
	uint32_t max_instances, max_vcpus, max_mem_mib, max_rate; /* 0: no limit */
};

/* "mvmd.token=ci" for the instances that this client starts; "" for the owner. */
void client_label(const struct client *c, char ret[CLIENT_LABEL_SIZE]);

struct limits;

int limits_new(struct limits **ret, struct mvm_error *err);
void limits_free(struct limits *l); /* NULL is fine */

/*
 * Count a request.  On the loop.
 *
 *   ret_wait_s  on -EDQUOT: when to try again
 *
 * Each token has a bucket of as many requests as it has a second.
 */
int limits_take_request(struct limits *l, const struct client *c, int64_t now_ns,
			unsigned *ret_wait_s, struct mvm_error *err);

struct limits_claim {
	struct limits_claim *next;
	char token[CLIENT_NAME_SIZE]; /* "": nothing is claimed */
	uint64_t instances, vcpus, mem_mib;
};

/*
 * Claim room for n instances, before they start.  On a worker.
 *
 *   vcpus, mem_mib  of each
 *   ret             limits_release() it after the start, also after a failure
 *
 * -EDQUOT when the token has no room.
 */
int limits_claim(struct limits *l, const struct client *c, struct mvm *mvm, uint64_t n,
		 uint64_t vcpus, uint64_t mem_mib, struct limits_claim *ret, struct mvm_error *err);
void limits_release(struct limits *l, struct limits_claim *claim);

#endif
