/* SPDX-License-Identifier: Apache-2.0 */
#include "start/start.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "instance/folder.h"
#include "model/label.h"
#include "model/policy.h"
#include "start/disks.h"
#include "start/working_set.h"

const struct mvm_start_options start_for_ourselves = { .attached = true };

static void put_time(char **to, bool *failed)
{
	char text[RFC3339_SIZE];
	clock_format(clock_wall_ns() / NS_PER_S, text);
	*to = str_dup(text, failed);
}

/* The template's rules and the user's, which are new here. */
static int add_rules(struct strv *to, const struct mvm_strings *of_template,
		     const char *const *added, struct mvm_error *err)
{
	struct policy_rule rule;
	for (size_t i = 0; i < of_template->n; i++)
		strv_add(to, of_template->v[i]);
	for (; added && *added; added++) {
		int r = policy_rule_parse(*added, &rule, err);
		if (r < 0)
			return r;
		strv_add(to, *added);
	}
	if (to->failed)
		return mvm_error_oom(err);
	return to->n <= POLICY_RULES_MAX
		       ? 0
		       : mvm_error_set(err, -E2BIG, "a network has at most %u rules of a kind",
				       POLICY_RULES_MAX);
}

static int take_rules(const struct start_request *q, struct record *rec, struct mvm_error *err)
{
	static const struct mvm_strings none = { 0 };
	static const char *const all[] = { "all", NULL };
	const struct mvm_start_options *o = q->options;
	const struct mvm_run *run = &q->revision->rev.run;
	if (o->no_network && run->network == MVM_NETWORK_NONE)
		return 0;
	int r = add_rules(&rec->network_allow, o->no_network ? &none : &run->allow,
			  o->network_allow, err);
	if (r == 0)
		r = add_rules(&rec->network_deny, o->no_network ? &none : &run->deny,
			      o->no_network ? all : o->network_deny, err);
	if (r < 0 || (rec->network_allow.n == 0 && rec->network_deny.n == 0))
		return r;
	if (run->network == MVM_NETWORK_NONE)
		return mvm_error_set(err, -EINVAL,
				     "template '%s' has no network, so it takes no rules",
				     q->revision->id);
	bool domains = policy_names_domain(rec->network_allow.v, rec->network_allow.n) ||
		       policy_names_domain(rec->network_deny.v, rec->network_deny.n);
	if (q->ops->network_rules && domains && !q->ops->caps.network_domains) {
		r = mvm_error_set(err, -EOPNOTSUPP,
				  "backend %s cannot hold a guest to domains, only to addresses "
				  "and ports",
				  q->ops->name);
		return mvm_error_hint(err, r, "name addresses, or use the backend qemu");
	}
	return q->ops->network_rules
		       ? 0
		       : mvm_error_set(err, -EOPNOTSUPP,
				       "backend %s cannot hold a guest to rules for the network",
				       q->ops->name);
}

static int take_name_servers(const struct start_request *q, struct record *rec,
			     struct mvm_error *err)
{
	const char *const *dns = q->options->network_dns;
	for (; dns && *dns; dns++)
		strv_add(&rec->network_dns, *dns);
	if (rec->network_dns.failed)
		return mvm_error_oom(err);
	if (rec->network_dns.n > 0 && q->revision->rev.run.network == MVM_NETWORK_NONE)
		return mvm_error_set(err, -EINVAL,
				     "template '%s' has no network, so it takes no name servers",
				     q->revision->id);
	return 0;
}

static int copy_list(struct strv *to, const struct strv *from, struct mvm_error *err)
{
	for (size_t i = 0; i < from->n; i++)
		strv_add(to, from->v[i]);
	return to->failed ? mvm_error_oom(err) : 0;
}

static int keep_rules(const struct record *from, struct record *rec, struct mvm_error *err)
{
	strv_done(&rec->network_allow);
	strv_done(&rec->network_deny);
	strv_done(&rec->network_dns);
	int r = copy_list(&rec->network_allow, &from->network_allow, err);
	if (r == 0)
		r = copy_list(&rec->network_deny, &from->network_deny, err);
	return r < 0 ? r : copy_list(&rec->network_dns, &from->network_dns, err);
}

/* Copy what an instance that starts again keeps besides its options. */
static int keep(const struct record *from, struct record *rec, struct mvm_error *err)
{
	bool failed = false;
	int r = keep_rules(from, rec, err);
	if (r < 0)
		return r;
	free(rec->created_at);
	rec->created_at = str_dup(from->created_at, &failed);
	rec->forked_from = str_dup(from->forked_from, &failed);
	if (rec->continues) { /* else the guest gets others; a refused resume leaves it as it was */
		rec->machine_id = str_dup(from->machine_id, &failed);
		rec->started_at = str_dup(from->started_at, &failed);
		memcpy(rec->stages, from->stages, sizeof(rec->stages));
		rec->n_stages = from->n_stages;
	}
	for (size_t i = 0; i < OWN_DISKS; i++)
		rec->disks[i].reflinked = from->disks[i].reflinked;
	rec->held = false; /* the user knows its name */
	return failed ? mvm_error_oom(err) : 0;
}

static enum record_memory memory_of(const struct start_plan *plan,
				    const struct mvm_start_options *o)
{
	if (!plan->restore)
		return RECORD_MEMORY_OWN;
	return o->private_memory ? RECORD_MEMORY_SPARSE : RECORD_MEMORY_SHARED;
}

static enum record_volume_kind kind_of(const char *host)
{
	struct stat st;
	if (!host || stat(host, &st) < 0) /* the copy into the guest says why */
		return RECORD_VOLUME_UNKNOWN;
	return S_ISREG(st.st_mode) ? RECORD_VOLUME_FILE : RECORD_VOLUME_FOLDER;
}

static void put_disks(const struct start_plan *plan, struct record *rec)
{
	for (size_t i = 0; i < OWN_DISKS; i++)
		rec->disks[i] = (struct record_disk){
			.present = plan->disk_mib[i] != 0,
			.size_mib = plan->disk_mib[i],
		};
}

static void put_forwards(struct record *rec, const struct mvm_start_options *o)
{
	for (size_t i = 0; i < o->n_forwards; i++) {
		const struct mvm_forward *from = &o->forwards[i];
		struct vmm_forward *to = &rec->forwards[i];
		to->udp = from->udp;
		to->host_port = from->host_port;
		to->guest_port = from->guest_port;
		snprintf(to->host_address, sizeof(to->host_address), "%s",
			 from->host_address[0] ? from->host_address : "127.0.0.1");
	}
}

static void put_volumes(struct record *rec, const struct mvm_start_options *o, bool *failed)
{
	for (size_t i = 0; i < o->n_volumes; i++)
		rec->volumes[rec->n_volumes++] = (struct record_volume){
			.host = str_dup(o->volumes[i].host, failed),
			.guest = str_dup(o->volumes[i].guest, failed),
			.name = str_dup(o->volumes[i].name, failed),
			.write_back = o->volumes[i].write_back,
			.kind = kind_of(o->volumes[i].host),
		};
}

int start_record(const struct start_request *q, const struct start_plan *plan, struct record *ret,
		 struct mvm_error *err)
{
	const struct mvm_start_options *o = q->options;
	bool failed = false;
	AUTO_DONE(record) rec = {
		.state = RECORD_STARTING,
		.restore = plan->restore,
		.own_image = plan->own_image,
		.continues = q->continues,
		.no_agent = q->revision->rev.run.initrd == MVM_INITRD_IMAGE,
		.attached = o->attached,
		.held = !o->attached,
		.purpose = q->purpose,
		.vcpus = plan->vcpus,
		.mem_mib = plan->mem_mib,
		.memory = memory_of(plan, o),
		.n_forwards = o->n_forwards,
		.restart = (enum record_restart)o->restart,
		.restart_max = o->restart_max,
		.keep_running = o->keep_running || o->exec,
		.no_workload = o->no_workload,
		.remove_at_end = o->remove_at_end,
		.ttl_ms = o->ttl_ms,
		.ttl_action = (enum record_then)o->ttl_action,
		.on_idle_ms = o->on_idle_ms,
		.on_idle_action = (enum record_then)o->on_idle_action,
		.volume_timeout_ms = o->volume_timeout_ms,
		.log_max_bytes = o->log_max_bytes,
	};
	char boot_id[HOST_BOOT_ID_SIZE];

	put_disks(plan, &rec);
	if (o->n_forwards > RECORD_FORWARDS_MAX)
		return mvm_error_set(err, -EINVAL, "more than %u ports", RECORD_FORWARDS_MAX);
	if (o->n_forwards && q->revision->rev.run.network == MVM_NETWORK_NONE)
		return mvm_error_set(err, -EINVAL,
				     "template '%s' has no network, so no port can be forwarded",
				     q->revision->id);
	put_forwards(&rec, o);
	if (o->n_volumes > RECORD_VOLUMES_MAX)
		return mvm_error_set(err, -EINVAL, "more than %u volumes", RECORD_VOLUMES_MAX);
	put_volumes(&rec, o, &failed);
	for (const char *const *v = o->env; v && *v; v++)
		strv_add(&rec.env, *v);
	failed |= rec.env.failed;
	int r = labels_make(o->labels, &rec.labels, err);
	if (r == 0)
		r = take_rules(q, &rec, err);
	if (r == 0)
		r = take_name_servers(q, &rec, err);
	if (r < 0)
		return r;
	rec.hostname = str_dup(o->hostname, &failed);
	rec.name = str_dup(o->name, &failed);
	rec.template_id = str_dup(q->revision->id, &failed);
	rec.revision = str_dup(q->revision->hash, &failed);
	rec.backend = str_dup(q->ops->name, &failed);
	rec.backend_version = str_dup(q->probe->version, &failed);
	rec.accelerator = str_dup(vmm_accel_name(q->probe->accel), &failed);
	rec.reason = str_dup(plan->reason, &failed);
	rec.forked_from = q->origin ? str_dup(q->origin->name, &failed) : NULL;
	rec.cmdline = str_dup(plan->cmdline, &failed);
	host_boot_id(boot_id);
	rec.boot_id = str_dup(boot_id, &failed);
	put_time(&rec.created_at, &failed);
	if (failed)
		return mvm_error_oom(err);
	*ret = rec;
	rec = (struct record){ 0 };
	return 0;
}

/* Read the working set ahead while the supervisor and the VMM start. */
static void read_ahead(const struct revision *revision)
{
	AUTO_CLOSE int fd = dir_open_at(revision->dir_fd, "snapshot");
	if (fd >= 0) /* else the supervisor reports the error */
		working_set_read_ahead(fd, revision->rev.snapshot.mem_size_bytes);
}

/* The disks that the new instance gets copies of. */
static int open_disks(const struct start_request *q, const struct start_plan *plan,
		      struct disk_fds *ret, struct mvm_error *err)
{
	if (!q->origin)
		return disks_open(q->revision, plan->disk_mib, plan->restore, ret, err);
	for (size_t i = 0; i < OWN_DISKS; i++) {
		if (!plan->disk_mib[i])
			continue;
		ret->fd[i] = openat(q->saved_fd, own_disks[i].file,
				    O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (ret->fd[i] < 0)
			return mvm_error_set(err, -errno, "cannot open the fork's %s: %s",
					     own_disks[i].what, strerror(errno));
	}
	return 0;
}

int start_begin(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
		struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	int instances_fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int cache_fd = store_dir_get(mvm->store, STORE_CACHE, err);
	if (instances_fd < 0 || cache_fd < 0)
		return instances_fd < 0 ? instances_fd : cache_fd;

	AUTO_DONE(disk_fds) disks = DISK_FDS_NONE;
	int r = q->again ? 0 /* it has its disks */ : open_disks(q, plan, &disks, err);
	if (r == 0)
		r = start_record(q, plan, &rec, err);
	if (r == 0 && q->again)
		r = keep(q->again, &rec, err);
	if (r == 0 && q->origin)
		r = keep_rules(q->origin, &rec, err);
	if (r < 0)
		return r;
	struct instance_launch launch = {
		.record = &rec,
		.again = q->again,
		.revision_fd = q->revision->dir_fd,
		.lease_fd = q->revision->lease_fd,
		.cache_fd = cache_fd,
		.capture_fd = -1,
		.source_fd = q->revision->source_fd,
		.progress = q->progress,
		.logs_fd = store_dir(mvm->store, STORE_LOGS), /* without it, events are lost */
	};
	if (q->origin)
		launch.capture_fd = q->saved_fd;
	else if (q->purpose == RECORD_FOR_CAPTURE)
		launch.capture_fd = q->capture_fd;
	memcpy(launch.disk_fds, disks.fd, sizeof(launch.disk_fds));
	r = instance_launch_begin(instances_fd, &launch, ret, err);
	if (r == 0 && plan->restore)
		read_ahead(q->revision);
	return store_mend(mvm->store, r, err);
}

int start_wait(struct mvm *mvm, struct mvm_instance *i, struct mvm_error *err)
{
	return instance_launch_wait(store_dir(mvm->store, STORE_INSTANCES), i,
				    store_dir(mvm->store, STORE_LOGS), err);
}

void start_remove(struct mvm *mvm, struct mvm_instance *i)
{
	int instances_fd = store_dir(mvm->store, STORE_INSTANCES);
	const char *name = mvm_instance_name(i);
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, name);
	instance_await_end(i);
	control_done(&i->control); /* hang up: then it removes itself, as when we are killed */
	if (dir_fd >= 0)
		instance_folder_await(dir_fd, name, -1, clock_deadline_ns(INSTANCE_FOLDER_END_MS),
				      NULL, NULL);
	if (dir_fd >= 0 && file_is_at(dir_fd, instances_fd, name))
		mvm_instance_remove(mvm, name, true, NULL, NULL); /* it was cancelled anyway */
}

int start_finish(struct mvm *mvm, struct mvm_instance *i, const struct mvm_progress *progress,
		 struct mvm_error *err)
{
	i->control.progress = progress;
	int r = start_wait(mvm, i, err);
	if (r == -ECANCELED) {
		/* a caller that cancels may remove the VM's folders */
		i->control.progress = NULL;
		instance_cut_short(i);
		start_remove(mvm, i);
	}
	return r;
}

int start_instance(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
		   const struct mvm_progress *progress, struct mvm_instance **ret,
		   struct mvm_error *err)
{
	AUTO(mvm_instance) i = NULL;
	int r = start_begin(mvm, q, plan, &i, err);
	if (r == 0)
		r = start_finish(mvm, i, progress, err);
	if (r == 0)
		*ret = TAKE_PTR(i);
	return r;
}
