/* SPDX-License-Identifier: Apache-2.0 */
/* This host as a scheduler sees it. */
#include <errno.h>
#include <mvm/node.h>
#include <sched.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include "base/error.h"
#include "base/progress.h"
#include "build/committed.h"
#include "start/host_memory.h"
#include "start/start.h"

DEFINE_AUTO(mvm_node, mvm_node_free)
DEFINE_AUTO(mvm_template_details, mvm_template_details_free)

static void free_template(struct mvm_node_template *t)
{
	if (!t)
		return;
	free(t->template_id);
	free(t->revision);
	free(t->digest);
	free(t->reason);
	free(t);
}

void mvm_node_free(struct mvm_node *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->n_templates; i++)
		free_template(n->templates[i]);
	free(n->templates);
	free(n->arch);
	free(n->backend);
	free(n->backend_version);
	free(n->problem);
	free(n);
}

_Static_assert(VARIANT_HASH_SIZE == MVM_NODE_HASH_SIZE, "the same hashes");

/* ---- what snapshots depend on ---- */

static int look_at_backend(struct mvm *mvm, const struct mvm_progress *progress, struct mvm_node *n,
			   struct mvm_error *err)
{
	const struct mvm_template_revision any = { .run = { .network = MVM_NETWORK_NONE } };
	AUTO_DONE(vmm_probe) probe = { 0 };
	struct variant_key key;
	const struct vmm_ops *ops;
	struct mvm_error why = { 0 };
	bool failed = false;

	int r = context_backend(mvm, NULL, &any, progress, &ops, &probe, &why);
	if (r == 0)
		r = context_key(ops, &probe, &key, &why);
	if (r == -ECANCELED || r == -ENOMEM)
		return mvm_error_hand_on(err, &why);
	if (r < 0) {
		n->problem = str_dup(why.text, &failed);
		return failed ? mvm_error_oom(err) : 0;
	}
	n->backend = str_dup(ops->name, &failed);
	n->backend_version = str_dup(probe.version, &failed);
	n->kvm = probe.accel == VMM_ACCEL_KVM;
	memcpy(n->cpu_hash, key.cpu, sizeof(n->cpu_hash));
	memcpy(n->backend_hash, key.backend, sizeof(n->backend_hash));
	return failed ? mvm_error_oom(err) : 0;
}

/* ---- what is free ---- */

static void look_at_instances(struct mvm *mvm, struct mvm_node *n)
{
	AUTO_DONE(strv) names = { 0 };

	if (store_dir_names(mvm->store, STORE_INSTANCES, &names, NULL) < 0)
		return;
	int fd = store_dir(mvm->store, STORE_INSTANCES);
	for (size_t i = 0; i < names.n; i++) {
		AUTO_DONE(record) rec = { 0 };
		if (instance_load(fd, names.v[i], &rec, NULL, NULL) < 0 || record_is_over(&rec))
			continue;
		n->n_running++;
		n->running_vcpus += rec.vcpus;
		n->running_mem_mib += rec.mem_mib;
	}
}

static int look_at_host(struct mvm *mvm, struct mvm_node *n, struct mvm_error *err)
{
	struct host_memory memory;
	struct utsname uts;
	struct statvfs fs;
	cpu_set_t cpus;
	bool failed = false;

	if (uname(&uts) < 0)
		return mvm_error_set(err, -errno, "uname: %s", strerror(errno));
	if (fstatvfs(store_root(mvm->store), &fs) < 0)
		return mvm_error_set(err, -errno, "'%s': %s", store_path(mvm->store),
				     strerror(errno));
	n->arch = str_dup(uts.machine, &failed);
	n->disk_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	n->disk_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (host_memory_read(&memory) == 0) {
		n->mem_bytes = memory.limit_bytes;
		n->mem_available_bytes = memory.available_bytes;
	}
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		n->cpus = (unsigned)CPU_COUNT(&cpus);
	look_at_instances(mvm, n);
	return failed ? mvm_error_oom(err) : 0;
}

/* ---- templates ---- */

struct looking {
	struct mvm *mvm;
	const struct mvm_progress *progress;
	struct mvm_node *node;
	struct mvm_error *err;
};

static int tell(const struct mvm_template_details *d, struct mvm_node_template *t)
{
	bool failed = false;

	t->revision = str_dup(d->revision, &failed);
	if (d->built_from && str_starts(d->built_from, RECEIVED_PREFIX))
		t->digest = str_dup(d->built_from + strlen(RECEIVED_PREFIX), &failed);
	t->has_snapshot = d->has_snapshot;
	t->start = d->start;
	t->reason = str_dup(d->start_reason, &failed);
	t->disk_bytes = d->disk_bytes;
	return failed ? -ENOMEM : 0;
}

static int look_at_template(void *arg, const struct mvm_template_summary *summary)
{
	const struct looking *l = arg;
	struct mvm_node *n = l->node;
	AUTO(mvm_template_details) details = NULL;
	struct mvm_error why = { 0 };
	bool failed = false;

	int r = progress_check(l->progress, l->err);
	if (r < 0)
		return r;
	struct mvm_node_template *t = calloc(1, sizeof(*t));
	struct mvm_node_template **grown = realloc(n->templates,
						   (n->n_templates + 1) * sizeof(*grown));
	if (grown)
		n->templates = grown;
	if (!t || !grown) {
		free(t);
		return mvm_error_oom(l->err);
	}
	n->templates[n->n_templates++] = t;
	t->template_id = str_dup(summary->template_id, &failed);
	r = mvm_template_details(l->mvm, summary->template_id, l->progress, &details, &why);
	if (r == -ECANCELED)
		return mvm_error_hand_on(l->err, &why);
	if (r == 0)
		failed |= tell(details, t) < 0;
	else
		t->reason = str_dup(why.text, &failed);
	return failed || r == -ENOMEM ? mvm_error_oom(l->err) : 0;
}

int mvm_node_look(struct mvm *mvm, const struct mvm_progress *progress, struct mvm_node **ret,
		  struct mvm_error *err)
{
	AUTO(mvm_node) node = calloc(1, sizeof(*node));
	struct progress_watch watch;

	if (!node)
		return mvm_error_oom(err);
	int r = progress_take(&watch, &progress, err);
	struct looking looking = { mvm, progress, node, err };
	if (r == 0)
		r = look_at_host(mvm, node, err);
	if (r == 0)
		r = look_at_backend(mvm, progress, node, err);
	if (r == 0)
		r = mvm_template_list(mvm, look_at_template, &looking, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(node);
	return 0;
}
