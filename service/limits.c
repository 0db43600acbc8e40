/* SPDX-License-Identifier: Apache-2.0 */
#include "limits.h"

#include <errno.h>
#include <mvm/instance.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"

struct bucket {
	char token[CLIENT_NAME_SIZE];
	int64_t at_ns; /* when it was filled last */
	double fill;   /* requests that may come at once */
};

struct limits {
	struct bucket *buckets; /* the loop's */
	size_t n_buckets;
	pthread_mutex_t lock;	     /* of the claims, and held while instances are counted */
	struct limits_claim *claims; /* of starts under way */
};

void client_label(const struct client *c, char ret[CLIENT_LABEL_SIZE])
{
	ret[0] = '\0';
	if (c->token[0])
		snprintf(ret, CLIENT_LABEL_SIZE, "%s=%s", LIMITS_LABEL, c->token);
}

int limits_new(struct limits **ret, struct mvm_error *err)
{
	struct limits *l = calloc(1, sizeof(*l));
	if (!l)
		return mvm_error_oom(err);
	pthread_mutex_init(&l->lock, NULL);
	*ret = l;
	return 0;
}

void limits_free(struct limits *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l->buckets);
	free(l);
}

/* ---- requests ---- */

/* The token's bucket, full if it is new.  There are as many as tokens with a limit.  Tokens that
 * are made and removed without end take the place of the one that was used least lately. */
static struct bucket *find_bucket(struct limits *l, const struct client *c, int64_t now_ns)
{
	struct bucket *oldest = NULL;
	for (size_t i = 0; i < l->n_buckets; i++) {
		struct bucket *b = &l->buckets[i];
		if (str_eq(b->token, c->token))
			return b;
		if (!oldest || b->at_ns < oldest->at_ns)
			oldest = b;
	}
	if (l->n_buckets < MVM_TOKENS_MAX) {
		struct bucket *more = realloc(l->buckets, (l->n_buckets + 1) * sizeof(*more));
		if (!more)
			return NULL;
		l->buckets = more;
		oldest = &more[l->n_buckets++];
	}
	*oldest = (struct bucket){ .at_ns = now_ns, .fill = c->max_rate };
	memcpy(oldest->token, c->token, sizeof(oldest->token));
	return oldest;
}

int limits_take_request(struct limits *l, const struct client *c, int64_t now_ns,
			unsigned *ret_wait_s, struct mvm_error *err)
{
	const double rate = c->max_rate;
	if (rate <= 0)
		return 0;
	struct bucket *b = find_bucket(l, c, now_ns);
	if (!b)
		return mvm_error_oom(err);
	if (now_ns > b->at_ns)
		b->fill += rate * (double)(now_ns - b->at_ns) / (double)NS_PER_S;
	b->fill = b->fill > rate ? rate : b->fill;
	b->at_ns = now_ns;
	if (b->fill >= 1) {
		b->fill -= 1;
		return 0;
	}
	*ret_wait_s = 1; /* a rate is at least one a second */
	return mvm_error_set(err, -EDQUOT, "the token '%s' may send %u requests a second", c->token,
			     c->max_rate);
}

/* ---- instances ---- */

struct use {
	uint64_t instances, vcpus, mem_mib;
};

/* An instance counts as long as it has a VM or the state of one. */
static bool counts(const struct mvm_instance_info *info, const char *label)
{
	if (info->state == MVM_INSTANCE_EXITED || info->state == MVM_INSTANCE_FAILED)
		return false;
	for (const char *const *l = info->labels; *l; l++) {
		if (str_eq(*l, label))
			return true;
	}
	return false;
}

static int count_use(struct limits *l, const struct client *c, struct mvm *mvm, struct use *ret,
		     struct mvm_error *err)
{
	struct mvm_instance_info **all = NULL;
	char label[CLIENT_LABEL_SIZE];
	size_t n = 0;

	client_label(c, label);
	int r = mvm_instance_list(mvm, &all, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (!counts(all[i], label))
			continue;
		ret->instances++;
		ret->vcpus += all[i]->vcpus;
		ret->mem_mib += all[i]->mem_mib;
	}
	mvm_instance_list_free(all, n);
	for (const struct limits_claim *p = l->claims; p; p = p->next) {
		if (!str_eq(p->token, c->token))
			continue;
		ret->instances += p->instances;
		ret->vcpus += p->vcpus;
		ret->mem_mib += p->mem_mib;
	}
	return 0;
}

static int check(const struct client *c, const char *what, uint64_t used, uint64_t wanted,
		 uint64_t max, struct mvm_error *err)
{
	if (max == 0 || (wanted <= max && used <= max - wanted))
		return 0;
	int r = mvm_error_set(err, -EDQUOT,
			      "the token '%s' may have %ju %s, has %ju and would need %ju more",
			      c->token, (uintmax_t)max, what, (uintmax_t)used, (uintmax_t)wanted);
	return mvm_error_hint(err, r, "stop or remove instances of this token");
}

int limits_claim(struct limits *l, const struct client *c, struct mvm *mvm, uint64_t n,
		 uint64_t vcpus, uint64_t mem_mib, struct limits_claim *ret, struct mvm_error *err)
{
	struct use used = { 0 };

	*ret = (struct limits_claim){ .instances = n, .vcpus = n * vcpus, .mem_mib = n * mem_mib };
	if (!c->token[0] || (!c->max_instances && !c->max_vcpus && !c->max_mem_mib))
		return 0;
	pthread_mutex_lock(&l->lock);
	int r = count_use(l, c, mvm, &used, err);
	if (r == 0)
		r = check(c, "instances", used.instances, ret->instances, c->max_instances, err);
	if (r == 0)
		r = check(c, "vCPUs", used.vcpus, ret->vcpus, c->max_vcpus, err);
	if (r == 0)
		r = check(c, "MiB of memory", used.mem_mib, ret->mem_mib, c->max_mem_mib, err);
	if (r == 0) {
		memcpy(ret->token, c->token, sizeof(ret->token));
		ret->next = l->claims;
		l->claims = ret;
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

void limits_release(struct limits *l, struct limits_claim *claim)
{
	if (!claim->token[0])
		return;
	pthread_mutex_lock(&l->lock);
	for (struct limits_claim **p = &l->claims; *p; p = &(*p)->next) {
		if (*p == claim) {
			*p = claim->next;
			break;
		}
	}
	pthread_mutex_unlock(&l->lock);
	claim->token[0] = '\0';
}
