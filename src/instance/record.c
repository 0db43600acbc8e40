/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/json.h"
#include "instance/record_names.h"

const char *const record_state_names[RECORD_FAILED + 1] = {
	[RECORD_STARTING] = "starting", [RECORD_RUNNING] = "running", [RECORD_PAUSED] = "paused",
	[RECORD_EXITED] = "exited",	[RECORD_FAILED] = "failed",
};

const char *const record_health_names[RECORD_HEALTH_UNHEALTHY + 1] = {
	[RECORD_HEALTH_NONE] = "none",
	[RECORD_HEALTH_STARTING] = "starting",
	[RECORD_HEALTH_HEALTHY] = "healthy",
	[RECORD_HEALTH_UNHEALTHY] = "unhealthy",
};

const char *const record_start_names[2] = { "boot", "restore" };

const char *const record_memory_names[RECORD_MEMORY_REFLINK + 1] = {
	[RECORD_MEMORY_OWN] = "own",
	[RECORD_MEMORY_SHARED] = "shared",
	[RECORD_MEMORY_SPARSE] = "sparse",
	[RECORD_MEMORY_REFLINK] = "reflink",
};

/* how the data disk was copied */
const char *const record_copy_names[2] = { "sparse", "reflink" };

const char *const record_purpose_names[RECORD_FOR_POOL + 1] = {
	[RECORD_FOR_USER] = "user",
	[RECORD_FOR_CAPTURE] = "capture",
	[RECORD_FOR_CHECK] = "check",
	[RECORD_FOR_POOL] = "pool",
};

const char *const record_restart_names[RECORD_RESTART_UNLESS_STOPPED + 1] = {
	[RECORD_RESTART_NO] = "no",
	[RECORD_RESTART_ON_FAILURE] = "on-failure",
	[RECORD_RESTART_ALWAYS] = "always",
	[RECORD_RESTART_UNLESS_STOPPED] = "unless-stopped",
};

const char *record_state_name(enum record_state state)
{
	return record_state_names[state];
}

const char *record_health_name(enum record_health health)
{
	return record_health_names[health];
}

static json_t *volumes_json(struct json_out *out, const struct record *r)
{
	json_t *list = json_array();
	for (size_t i = 0; i < r->n_volumes; i++) {
		json_t *o = json_new(out);
		json_put_string(out, o, "host", r->volumes[i].host);
		json_put_string(out, o, "guest", r->volumes[i].guest);
		if (r->volumes[i].name)
			json_put_string(out, o, "name", r->volumes[i].name);
		json_put(out, o, "write_back", json_boolean(r->volumes[i].write_back));
		if (json_array_append_new(list, o) < 0)
			out->failed = true;
	}
	return list;
}

static json_t *forwards_json(struct json_out *out, const struct record *r)
{
	json_t *list = json_array();
	for (size_t i = 0; i < r->n_forwards; i++) {
		const struct vmm_forward *f = &r->forwards[i];
		json_t *o = json_new(out);
		json_put_string(out, o, "protocol", f->udp ? "udp" : "tcp");
		json_put_string(out, o, "host_address", f->host_address);
		json_put_u64(out, o, "host_port", f->host_port);
		json_put_u64(out, o, "guest_port", f->guest_port);
		if (json_array_append_new(list, o) < 0)
			out->failed = true;
	}
	return list;
}

static void put_nullable(struct json_out *out, json_t *o, const char *key, const char *value)
{
	if (value)
		json_put_text(out, o, key, value); /* errors may quote a guest */
	else
		json_put(out, o, key, json_null());
}

static json_t *usage_json(struct json_out *out, const struct usage *u)
{
	json_t *o = json_new(out);
	json_put_u64(out, o, "cpu_ns", u->cpu_ns);
	json_put_u64(out, o, "memory_private_bytes", u->memory_private_bytes);
	json_put_u64(out, o, "memory_shared_bytes", u->memory_shared_bytes);
	json_put_u64(out, o, "supervisor_private_bytes", u->supervisor_private_bytes);
	json_put_u64(out, o, "disk_bytes", u->disk_bytes);
	return o;
}

char *record_to_json(const struct record *r)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_u64(&out, o, "schema_version", 1);
	json_put_string(&out, o, "name", r->name);
	json_put_string(&out, o, "template_id", r->template_id);
	json_put_string(&out, o, "revision_hash", r->revision);
	json_put_string(&out, o, "state", record_state_name(r->state));
	json_put_string(&out, o, "start", record_start_names[r->restore]);
	put_nullable(&out, o, "reason", r->reason);
	json_put(&out, o, "from_pool", json_boolean(r->from_pool));
	json_put_string(&out, o, "backend", r->backend);
	put_nullable(&out, o, "backend_version", r->backend_version);
	put_nullable(&out, o, "accelerator", r->accelerator);
	json_put_u64(&out, o, "vcpus", r->vcpus);
	json_put_u64(&out, o, "mem_mib", r->mem_mib);
	json_put_string(&out, o, "memory", record_memory_names[r->memory]);
	if (r->data_disk_mib) {
		json_t *disk = json_new(&out);
		json_put_u64(&out, disk, "size_mib", r->data_disk_mib);
		json_put_string(&out, disk, "copy", record_copy_names[r->data_disk_reflinked]);
		json_put(&out, o, "data_disk", disk);
	}
	if (r->n_volumes)
		json_put(&out, o, "volumes", volumes_json(&out, r));
	json_put(&out, o, "forwards", forwards_json(&out, r));
	if (r->env.n)
		json_put_strings(&out, o, "env", r->env.v, r->env.n);
	put_nullable(&out, o, "hostname", r->hostname);
	put_nullable(&out, o, "machine_id", r->machine_id);
	json_put_string(&out, o, "created_at", r->created_at);
	put_nullable(&out, o, "started_at", r->started_at);
	put_nullable(&out, o, "ended_at", r->ended_at);
	json_put_u64(&out, o, "supervisor_pid", (uint64_t)r->supervisor_pid);
	json_put_u64(&out, o, "vmm_pid", (uint64_t)r->vmm_pid);
	json_put(&out, o, "agent", json_boolean(!r->no_agent));
	json_put(&out, o, "attached", json_boolean(r->attached));
	if (r->held)
		json_put(&out, o, "held", json_true());
	if (r->folder_inode)
		json_put_u64(&out, o, "folder_inode", r->folder_inode);
	json_put_string(&out, o, "purpose", record_purpose_names[r->purpose]);
	json_put_string(&out, o, "boot_args", r->cmdline);
	json_t *stages = json_new(&out);
	for (size_t i = 0; i < r->n_stages; i++)
		json_put_u64(&out, stages, r->stages[i].name, (uint64_t)r->stages[i].ns);
	json_put(&out, o, "stages_ns", stages);
	put_nullable(&out, o, "error", r->error);
	json_put_string(&out, o, "health", record_health_name(r->health));
	put_nullable(&out, o, "health_message", r->health_message);
	json_put(&out, o, "workload_ended", json_boolean(r->workload_ended));
	json_put(&out, o, "exit_code",
		 r->has_exit_code ? json_integer((json_int_t)r->exit_code) : json_null());
	json_put_string(&out, o, "restart", record_restart_names[r->restart]);
	json_put_u64(&out, o, "restart_max", r->restart_max);
	json_put(&out, o, "restart_on_failure", json_boolean(r->restart != RECORD_RESTART_NO));
	json_put(&out, o, "keep_running", json_boolean(r->keep_running));
	json_put_u64(&out, o, "restarts", r->restarts);
	json_put_u64(&out, o, "ttl_ms", (uint64_t)r->ttl_ms);
	put_nullable(&out, o, "expires_at", r->expires_at);
	json_put(&out, o, "remove_at_end", json_boolean(r->remove_at_end));
	json_put_u64(&out, o, "log_max_bytes", r->log_max_bytes);
	put_nullable(&out, o, "cgroup", r->cgroup);
	put_nullable(&out, o, "cgroup_limits", r->cgroup_limits);
	put_nullable(&out, o, "boot_id", r->boot_id);
	if (r->has_usage)
		json_put(&out, o, "usage", usage_json(&out, &r->usage));

	char *text = NULL;
	return json_out_text(&out, o, JSON_TEXT_PRETTY, &text, NULL) < 0 ? NULL : text;
}

/* A full disk has no room for a new file, but the old one has its blocks.  Whoever reads it at that
 * very moment may see a mixture; without it nobody would learn how the VM has ended. */
static int overwrite(int dir_fd, const char *text, size_t len)
{
	AUTO_CLOSE int fd = openat(dir_fd, RECORD_NAME, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	/* first make sure that all of it fits: half a record is worth less than the old one */
	if (fd < 0 || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)len) < 0)
		return -errno;
	if (pwrite(fd, text, len, 0) != (ssize_t)len || ftruncate(fd, (off_t)len) < 0)
		return -EIO;
	return 0;
}

int record_save(int dir_fd, const struct record *r, struct mvm_error *err)
{
	struct record here = *r; /* borrows all it points to */
	struct stat st;
	if (!here.folder_inode && fstat(dir_fd, &st) == 0 && st.st_ino <= JSON_U64_MAX)
		here.folder_inode = st.st_ino;
	AUTO_FREE char *text = record_to_json(&here);
	if (!text)
		return mvm_error_oom(err);
	int result = file_replace_unsynced_at(dir_fd, RECORD_NAME, text, strlen(text), 0600);
	if ((result == -ENOSPC || result == -EDQUOT) && overwrite(dir_fd, text, strlen(text)) == 0)
		result = 0;
	if (result < 0)
		return mvm_error_set(err, result, "cannot write %s: %s", RECORD_NAME,
				     strerror(-result));
	return 0;
}

void record_done(struct record *r)
{
	char **strings[] = {
		&r->name,	   &r->template_id,	&r->revision,
		&r->backend,	   &r->backend_version, &r->accelerator,
		&r->reason,	   &r->cmdline,		&r->created_at,
		&r->started_at,	   &r->ended_at,	&r->hostname,
		&r->machine_id,	   &r->error,		&r->boot_id,
		&r->expires_at,	   &r->health_message,	&r->cgroup,
		&r->cgroup_limits,
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(strings); i++)
		free(*strings[i]);
	for (size_t i = 0; i < r->n_volumes; i++) {
		free(r->volumes[i].host);
		free(r->volumes[i].guest);
		free(r->volumes[i].name);
	}
	strv_done(&r->env);
	*r = (struct record){ 0 };
}
