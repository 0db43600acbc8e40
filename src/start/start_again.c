/* SPDX-License-Identifier: Apache-2.0 */
/* Start an instance that has ended again, as its record says. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/progress.h"
#include "instance/instance.h"
#include "start/again.h"
#include "start/start.h"
#include "store/store.h"

void again_done(struct again *a)
{
	record_done(&a->record);
	free(a->template_ref);
	free((void *)a->env);
}
static int read_env(struct again *a, struct mvm_error *err)
{
	const struct strv *env = &a->record.env;
	a->env = calloc(env->n + 1, sizeof(*a->env));
	if (!a->env)
		return mvm_error_oom(err);
	for (size_t i = 0; i < env->n; i++)
		a->env[i] = env->v[i];
	return 0;
}

static void read_lists(struct again *a)
{
	const struct record *rec = &a->record;
	for (size_t i = 0; i < rec->n_forwards; i++) {
		const struct vmm_forward *from = &rec->forwards[i];
		struct mvm_forward *to = &a->forwards[i];
		to->udp = from->udp;
		to->host_port = from->host_port;
		to->guest_port = from->guest_port;
		snprintf(to->host_address, sizeof(to->host_address), "%s", from->host_address);
	}
	for (size_t i = 0; i < rec->n_volumes; i++) {
		const struct record_volume *from = &rec->volumes[i];
		a->volumes[i] = (struct mvm_volume){
			.host = from->name ? NULL : from->host,
			.guest = from->guest,
			.name = from->name,
			.write_back = from->write_back,
		};
	}
}

/* The guest has the instance's name unless the start gave it another. */
static const char *hostname_of(const struct record *rec)
{
	return rec->hostname && !str_eq(rec->hostname, rec->name) ? rec->hostname : NULL;
}

int again_options(struct again *a, struct mvm_error *err)
{
	const struct record *rec = &a->record;
	a->template_ref = str_printf("%s@%s", rec->template_id, rec->revision);
	if (!a->template_ref)
		return mvm_error_oom(err);
	read_lists(a);
	a->options = (struct mvm_start_options){
		.size = sizeof(a->options),
		.template_ref = a->template_ref,
		.name = rec->name,
		/* a snapshot's memory fits only the disks of that snapshot */
		.kind = record_has_disk(rec) ? MVM_START_COLD : MVM_START_AUTO,
		.backend = rec->backend,
		.vcpus = rec->vcpus,
		.mem_mib = rec->mem_mib,
		.root_disk_mib = rec->disks[OWN_DISK_ROOT].size_mib,
		.forwards = a->forwards,
		.n_forwards = rec->n_forwards,
		.volumes = a->volumes,
		.n_volumes = rec->n_volumes,
		.restart = (enum mvm_restart)rec->restart,
		.restart_max = rec->restart_max,
		.keep_running = rec->keep_running,
		.no_workload = rec->no_workload,
		.private_memory = rec->memory >= RECORD_MEMORY_SPARSE,
		.hostname = hostname_of(rec),
		.labels = (const char *const *)rec->labels.v,
		.ttl_ms = rec->ttl_ms,
		.ttl_action = (enum mvm_then)rec->ttl_action,
		.on_idle_ms = rec->on_idle_ms,
		.on_idle_action = (enum mvm_then)rec->on_idle_action,
		.log_max_bytes = rec->log_max_bytes,
		.volume_timeout_ms = rec->volume_timeout_ms,
	};
	int r = read_env(a, err);
	a->options.env = a->env;
	return r;
}

static int check_ended(const struct record *rec, const char *name, struct mvm_error *err)
{
	if (record_is_over(rec))
		return 0;
	int r = mvm_error_set(err, -EBUSY, "instance '%s' is running", name);
	return mvm_error_reason(err, r, "instance-runs", name);
}

int mvm_instance_start_again(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
			     struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(again) a = { 0 };
	struct mvm_error local = { 0 };
	struct progress_watch watch;
	AUTO_FREE char *why = NULL;

	*ret = NULL;
	if (!err)
		err = &local;
	int r = progress_take(&watch, &progress, err);
	int fd = r < 0 ? r : store_dir_get(mvm->store, STORE_INSTANCES, err);
	r = fd < 0 ? fd : instance_load(fd, name, &a.record, NULL, err);
	if (r == 0)
		r = check_ended(&a.record, name, err);
	if (r < 0)
		return r;
	/* if its supervisor was killed, its record does not say so yet */
	instance_settle(fd, name, store_dir(mvm->store, STORE_LOGS), &why, NULL);
	r = again_options(&a, err);
	if (r == 0)
		r = start_again(mvm, &a.record, &a.options, progress, ret, err);
	return r < 0 ? mvm_error_context(err, r, "starting '%s' again", name) : 0;
}

int mvm_instance_restart(struct mvm *mvm, const char *name, int64_t timeout_ms,
			 const struct mvm_progress *progress, struct mvm_instance **ret,
			 struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	struct progress_watch watch;

	*ret = NULL;
	int r = progress_take(&watch, &progress, err);
	int fd = r < 0 ? r : store_dir_get(mvm->store, STORE_INSTANCES, err);
	r = fd < 0 ? fd : instance_load(fd, name, &rec, NULL, err);
	if (r < 0)
		return r;
	if (record_removes_itself(&rec))
		return mvm_error_set(err, -EINVAL,
				     "instance '%s' is removed at its end, so it cannot be "
				     "restarted",
				     name);
	r = record_is_over(&rec) ? 0 : mvm_instance_stop(mvm, name, timeout_ms, progress, err);
	if (r < 0 && r != -EBUSY) /* it has ended meanwhile */
		return r;
	return mvm_instance_start_again(mvm, name, progress, ret, err);
}
