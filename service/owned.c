/* SPDX-License-Identifier: Apache-2.0 */
#include "owned.h"

#include <errno.h>
#include <mvm/store.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "guard.h"
#include "limits.h"
#include "request.h"
#include "server.h"

/* Labels and the client's own, which counts because it comes last.  All are borrowed; free(3) the
 * array.  NULL: no memory. */
static const char **with_label(const char *const *labels, const char *own)
{
	size_t n = 0;
	while (labels && labels[n])
		n++;
	const char **all = calloc(n + 2, sizeof(*all));
	if (all && n > 0)
		memcpy(all, labels, n * sizeof(*all));
	if (all && *own)
		all[n] = own;
	return all;
}

/* What an instance will take, if its start does not say so. */
static int template_size(struct mvm *mvm, const char *ref, uint64_t *vcpus, uint64_t *mem_mib,
			 struct mvm_error *err)
{
	struct mvm_template_details *details = NULL;
	int r = *vcpus && *mem_mib ? 0 : mvm_template_details(mvm, ref, NULL, &details, err);
	if (r < 0 || !details)
		return r;
	*vcpus = *vcpus ? *vcpus : details->vcpus;
	*mem_mib = *mem_mib ? *mem_mib : details->mem_mib;
	mvm_template_details_free(details);
	return 0;
}

/* ret_over: it has no VM, and counts again once it is started; NULL: no matter. */
static int instance_size(struct mvm *mvm, const char *name, uint64_t *vcpus, uint64_t *mem_mib,
			 bool *ret_over, struct mvm_error *err)
{
	struct mvm_instance_info *info = NULL;
	int r = mvm_instance_inspect(mvm, name, &info, err);
	if (r < 0)
		return r;
	*vcpus = info->vcpus;
	*mem_mib = info->mem_mib;
	if (ret_over)
		*ret_over = info->state == MVM_INSTANCE_EXITED ||
			    info->state == MVM_INSTANCE_FAILED;
	mvm_instance_info_free(info);
	return 0;
}

static bool is_limited(const struct client *c)
{
	return c->max_instances || c->max_vcpus || c->max_mem_mib;
}

/* n 0: one instance, started by mvm_instance_start(). */
static int start(struct request *rq, struct mvm *mvm, const struct mvm_start_options *options,
		 uint32_t n, struct mvm_instance **ret, struct mvm_error *err)
{
	struct limits *limits = rq->server->guard->limits;
	struct mvm_start_options o = *options;
	uint64_t vcpus = o.vcpus, mem_mib = o.mem_mib;
	char label[CLIENT_LABEL_SIZE];
	struct limits_claim claim;

	client_label(&rq->client, label);
	AUTO_FREE const char **labels = with_label(o.labels, label);
	if (!labels)
		return mvm_error_oom(err);
	o.labels = labels;
	int r = 0;
	if (is_limited(&rq->client))
		r = template_size(mvm, o.template_ref, &vcpus, &mem_mib, err);
	if (r == 0)
		r = limits_claim(limits, &rq->client, mvm, n ? n : 1, vcpus, mem_mib, &claim, err);
	if (r < 0)
		return r;
	r = n ? mvm_instance_start_many(mvm, &o, n, rq->progress, ret, err)
	      : mvm_instance_start(mvm, &o, rq->progress, ret, err);
	limits_release(limits, &claim);
	return r;
}

int owned_start(struct request *rq, struct mvm *mvm, const struct mvm_start_options *options,
		struct mvm_instance **ret, struct mvm_error *err)
{
	return start(rq, mvm, options, 0, ret, err);
}

int owned_start_many(struct request *rq, struct mvm *mvm, const struct mvm_start_options *options,
		     uint32_t n, struct mvm_instance **ret, struct mvm_error *err)
{
	if (n == 0 || n > MVM_START_MANY_MAX)
		return mvm_error_set(err, -EINVAL, "the number of instances must be 1 to %u",
				     MVM_START_MANY_MAX);
	return start(rq, mvm, options, n, ret, err);
}

int owned_start_again(struct request *rq, struct mvm *mvm, const char *name,
		      struct mvm_instance **ret, struct mvm_error *err)
{
	struct limits *limits = rq->server->guard->limits;
	uint64_t vcpus = 0, mem_mib = 0;
	struct limits_claim claim;

	int r = instance_size(mvm, name, &vcpus, &mem_mib, NULL, err);
	if (r == 0)
		r = limits_claim(limits, &rq->client, mvm, 1, vcpus, mem_mib, &claim, err);
	if (r < 0)
		return r;
	r = mvm_instance_start_again(mvm, name, rq->progress, ret, err);
	limits_release(limits, &claim);
	return r;
}

int owned_restart(struct request *rq, struct mvm *mvm, const char *name, int64_t timeout_ms,
		  struct mvm_instance **ret, struct mvm_error *err)
{
	struct limits *limits = rq->server->guard->limits;
	uint64_t vcpus = 0, mem_mib = 0;
	struct limits_claim claim = { 0 };
	bool over = false;

	int r = instance_size(mvm, name, &vcpus, &mem_mib, &over, err);
	if (r == 0 && over) /* else it counts already */
		r = limits_claim(limits, &rq->client, mvm, 1, vcpus, mem_mib, &claim, err);
	if (r < 0)
		return r;
	r = mvm_instance_restart(mvm, name, timeout_ms, rq->progress, ret, err);
	limits_release(limits, &claim);
	return r;
}

int owned_fork(struct request *rq, struct mvm *mvm, const char *name,
	       const struct mvm_fork_options *options, uint32_t n, struct mvm_instance **ret,
	       struct mvm_error *err)
{
	struct limits *limits = rq->server->guard->limits;
	struct mvm_fork_options o = *options;
	uint64_t vcpus = 0, mem_mib = 0;
	char label[CLIENT_LABEL_SIZE];
	struct limits_claim claim;

	if (n == 0 || n > MVM_START_MANY_MAX)
		return mvm_error_set(err, -EINVAL, "the number of forks must be 1 to %u",
				     MVM_START_MANY_MAX);
	client_label(&rq->client, label);
	AUTO_FREE const char **labels = with_label(o.labels, label);
	if (!labels)
		return mvm_error_oom(err);
	o.labels = labels;
	int r = instance_size(mvm, name, &vcpus, &mem_mib, NULL, err);
	if (r == 0)
		r = limits_claim(limits, &rq->client, mvm, n, vcpus, mem_mib, &claim, err);
	if (r < 0)
		return r;
	r = mvm_instance_fork(mvm, name, &o, n, rq->progress, ret, err);
	limits_release(limits, &claim);
	return r;
}
